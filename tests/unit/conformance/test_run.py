"""Each case comes out as conformant, deviating or not applicable, and the suite goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from contract.task import RuntimeType
from tests.conformance import __main__ as command
from tests.conformance.__main__ import app
from tests.conformance.case import Case, DeviationError, Mark, NotApplicableError, case, check
from tests.conformance.report import counts, document, summary
from tests.conformance.run import Verdict, ask, ask_all, choose
from tests.conformance.suites import SUITES


@case("it is so")
async def good(_: Any) -> None:
    check("x", {"a": int}, {"a": 1})


@case("it is not so", Mark.SLOW)
async def bad(_: Any) -> None:
    check("GET /x", {"a": int}, {"a": "text"})


@case("nobody can say", Mark.NEEDS_MODEL)
async def open_question(_: Any) -> None:
    raise NotApplicableError("there is no model")


@case("it never ends")
async def endless(_: Any) -> None:
    await asyncio.Event().wait()


@case("it cannot be reached")
async def unreachable(_: Any) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


@case("it says something else altogether")
async def unreadable(_: Any) -> None:
    raise KeyError("prompt_id")


ABSENT = ("--url", "http://127.0.0.1:9")
ALL = (good, bad, open_question, endless, unreachable, unreadable)


async def test_each_case_gets_its_verdict_and_the_next_is_asked() -> None:
    said: list[str] = []
    outcomes = await ask_all(ALL, None, within=0.05, say=lambda outcome: said.append(outcome.case.name))
    verdicts = {outcome.case.name: outcome.verdict for outcome in outcomes}
    assert verdicts == {
        "good": Verdict.CONFORMANT,
        "bad": Verdict.DEVIATING,
        "open-question": Verdict.NOT_APPLICABLE,
        "endless": Verdict.DEVIATING,
        "unreachable": Verdict.DEVIATING,
        "unreadable": Verdict.DEVIATING,
    }
    assert said == list(verdicts)
    assert counts(outcomes) == {Verdict.CONFORMANT: 1, Verdict.DEVIATING: 4, Verdict.NOT_APPLICABLE: 1}


async def test_the_summary_names_what_is_not_conformant() -> None:
    outcomes = [await ask(item, None, within=1) for item in (good, bad, open_question)]
    assert str(summary(outcomes, "a server", 4.4)).split("\n")[1:] == [
        "a server: 3 cases in 4 s",
        "conformant        1",
        "deviating         1  bad",
        "not applicable    1  open-question",
    ]


async def test_a_deviation_is_reported_with_both_bodies() -> None:
    outcomes = [await ask(bad, None, within=1)]
    (shown,) = json.loads(json.dumps(document(outcomes, server="x")))["cases"]
    assert shown["why"] == "GET /x: a is 'text', not '<int>'"
    assert (shown["expected"], shown["got"]) == ({"a": "<int>", "<…>": "<…>"}, {"a": "text"})


def test_cases_are_chosen_by_name_and_left_out_by_mark() -> None:
    assert choose(ALL, only=["un*"]) == [unreachable, unreadable]
    assert choose(ALL, without=[Mark.SLOW, Mark.NEEDS_MODEL]) == [good, endless, unreachable, unreadable]


@pytest.mark.parametrize("runtime_type", SUITES)
def test_every_case_has_a_name_of_its_own_and_a_statement(runtime_type: RuntimeType) -> None:
    cases: tuple[Case, ...] = SUITES[runtime_type].cases
    assert len({item.name for item in cases}) == len(cases) > 20
    assert all(len(item.statement) > 10 for item in cases)


def test_comfyui_has_at_least_forty_cases_that_need_no_model() -> None:
    cases = choose(SUITES[RuntimeType.COMFYUI].cases, without=[Mark.NEEDS_MODEL, Mark.NEEDS_START, Mark.SLOW])
    assert len(cases) >= 40


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--url is missing"),
        (["--url", "127.0.0.1:9"], "--url 127.0.0.1:9 is no URL"),
        ([*ABSENT, "--case", "no-such"], "no case fits"),
        ([*ABSENT, "--start", "/no/such/program"], "No such file"),
        ([*ABSENT, "--start", 'sh -c "exit'], "No closing quotation"),
        ([*ABSENT, "--start", 'sh -c "exit 3"'], "the command ended with status 3 before http://127.0.0.1:9 answered"),
        ([*ABSENT, "--json", "/no/such/folder/x"], "/no/such/folder"),
        ([*ABSENT, "--task", "/no/such/file"], "--task /no/such/file"),
        ([*ABSENT, "--task", "pyproject.toml"], "--task pyproject.toml"),
    ],
)
def test_a_suite_that_cannot_begin_says_why_in_a_line(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["--type", "http", *arguments])
    assert result.exit_code == 2
    assert words in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "put user and password into --url"), (503, "answers 503, but not as such a server does")],
)
def test_what_answers_without_being_ready_is_told_by_its_status(
    status: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "MEET_WITHIN", 0.1)
    with web_page(status) as url:
        result = CliRunner().invoke(app, ["--type", "sdwebui", "--url", url])
    assert result.exit_code == 2
    assert words in result.output


class WebPage(BaseHTTPRequestHandler):
    """Answers everything with a page."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def web_page(status: int) -> Iterator[str]:
    """Serves a page, whatever is asked for, with this status; tells its address."""
    handler = type("Page", (WebPage,), {"status": status})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("runtime_type", SUITES)
def test_a_server_of_another_kind_is_not_asked(runtime_type: RuntimeType) -> None:
    with web_page(200) as url:
        result = CliRunner().invoke(app, ["--type", runtime_type, "--url", url])
    assert result.exit_code == 2
    assert "check --type and --url" in result.output


def test_the_cases_can_be_listed_without_a_server() -> None:
    result = CliRunner().invoke(app, ["--type", "comfyui", "--list", "--without", "slow"])
    assert result.exit_code == 0
    assert "order-of-events" in result.output
    assert "upload-beyond-the-limit" not in result.output


def test_a_deviation_keeps_what_was_expected_and_what_came() -> None:
    with pytest.raises(DeviationError) as caught:
        check("GET /queue", {"queue_running": []}, {"queue_running": [1]})
    assert caught.value.what == "GET /queue: queue_running is [1], not []"
    assert caught.value.got == {"queue_running": [1]}

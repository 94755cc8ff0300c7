"""The terminal client recognises requests and reads event streams."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from darkroom import Darkroom, RefusedError, Task
from darkroom.errors import checked
from darkroom.events import Event, parse_events
from local.client.__main__ import make_app
from local.client.requests import UnknownRequestError, demand, from_prompt, route_of, task_id_of
from local.client.show import outcome, show_letters, show_tasks, show_usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["task", "metadata", "id", "api", "payload", "alwayson_scripts"]), inner)
    ),
    max_leaves=10,
)

SEEDS = sorted((Path(__file__).parents[2] / "seeds").glob("*.json"))


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.stem)
def test_each_reference_request_goes_where_its_name_says(path: Path) -> None:
    assert route_of(json.loads(path.read_text())) == f"/{path.name.partition('-')[0]}"


def test_a_task_without_an_id_goes_to_v1() -> None:
    request = from_prompt("A dog", runtime="sdruntime", count=2, seed=7)
    assert route_of(request) == "/v1/tasks"
    assert request["task"]["content"]["batch_size"] == 2
    assert request["task"]["content"]["seed"] == 7


def test_tags_and_a_time_to_begin_are_added_to_what_the_request_has() -> None:
    request = from_prompt("A dog", runtime="sdruntime", task_id="mine")
    request["task"]["metadata"]["tags"] = {"lost": "yes"}
    asked = demand(request, tags=["team=ads", "for=a=b"], start_by="30.5")
    assert asked["task"]["metadata"] == {
        **request["task"]["metadata"],
        "tags": {"team": "ads", "for": "a=b"},
        "start_by": 30.5,
    }
    assert asked["task"]["content"] == request["task"]["content"]
    assert "start_by" not in request["task"]["metadata"]
    assert demand(request, start_by="2026-12-01T08:30:00Z")["task"]["metadata"]["start_by"] == "2026-12-01T08:30:00Z"
    with pytest.raises(UnknownRequestError, match="--tag 'ads': write it as NAME=VALUE"):
        demand(request, tags=["ads"])
    with pytest.raises(UnknownRequestError, match="--tag and --start-by are for requests of the form"):
        demand({"api": "/prompt", "payload": {}}, tags=["team=ads"])


@given(document=JSON)
def test_any_other_document_is_refused_with_the_forms_that_exist(document: Any) -> None:
    try:
        answer = route_of(document)
    except UnknownRequestError as error:
        answer = str(error)
    assert answer in {"/task", "/v1alpha1", "/v1alpha2", "/v1/tasks"} or "(v1, v1alpha2)" in answer


def test_the_id_is_found_in_the_answer_of_each_dialect() -> None:
    assert task_id_of({"id_task": "a", "runtime": "b"}) == "a"
    assert task_id_of({"taskId": "a"}) == "a"
    assert task_id_of({"id": "a", "status": "queued"}) == "a"
    with pytest.raises(UnknownRequestError):
        task_id_of(["a"])


def test_events_are_read_and_comments_passed_over() -> None:
    text = "retry: 1000\n\nevent: running\nid: 1\ndata: {\ndata: }\n\n: keep-alive\n\ndata:x\nnonsense\n\ndata: cut off"
    assert list(parse_events(text.split("\n"))) == [Event("{\n}", "1", "running"), Event("x", "1")]


FIELDS = st.tuples(st.sampled_from(["event", "data", "id", "retry", "", "other"]), st.text("ab:{} ", max_size=6))


@given(
    lines=st.lists(st.one_of(FIELDS.map(":".join), st.just(""), st.text(max_size=20))),
    data=st.lists(st.text("ab:{}", min_size=1, max_size=6), min_size=1, max_size=3),
)
def test_an_event_is_read_whatever_stands_before_it(lines: list[str], data: list[str]) -> None:
    *_, last = parse_events([*lines, "", "event:done", *[f"data:{part}" for part in data], ""])
    assert last.data == "\n".join(data)


def test_an_outcome_is_one_sentence() -> None:
    view: dict[str, Any] = {"id": "a", "status": "failed", "submitted_at": "2026-01-01T00:00:00Z"}
    view |= {"output_location": "s3://b/a"}

    def said(**more: Any) -> str:
        return outcome(Task.from_view(view | more))

    assert said(error={"code": "bad_input", "message": "no such model"}) == "a failed: no such model (bad_input)"
    assert said(status="cancelled", error=None) == "a cancelled"
    image = {"url": "http://x", "s3": "s3://b/a/1.png"}
    assert said(status="succeeded", images=[image]) == "a succeeded: 1 image in s3://b/a"


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("http://localhost:abc", None, "'http://localhost:abc' is not one: Invalid port: 'abc'"),
        ("http://[::1", None, "is not one"),
        ("http://127.0.0.1:8000", "k\u00e4y", "the API key .* must be ASCII"),
    ],
)
def test_an_address_or_key_that_cannot_be_is_refused_in_a_sentence(url: str, key: str | None, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        Darkroom(url, key=key)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (httpx.Response(404, json={"detail": "Not Found"}), "what answers at http://here is not the API.*status 404"),
        (httpx.Response(400, json=["no"]), "what answers at http://here is not the API.*status 400"),
        (httpx.Response(403, json={"message": "Forbidden"}), "^Forbidden$"),
        (httpx.Response(400, json={"error": {"code": "x", "message": "its own"}}), "^its own$"),
    ],
)
def test_a_refusal_names_its_reason_or_who_gave_none(answer: httpx.Response, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        checked(answer, "http://here")


def test_a_narrow_terminal_cuts_no_id_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ids = ["01M8MWRJ9S045CR78CKCSJJPS7", "a-name-of-a-user-that-has-many-words-1"]
    view = {
        "status": "cancelling",
        "runtime": "comfyruntime",
        "tasktype": "pipeline",
        "submission": "01M8MWRJ9S045CR78CKCSJJPS8",
        "attempts": 1,
        "submitted_at": "2026-01-01T12:00:00Z",
        "error": {"code": "runtime_error", "message": "a sentence of the runtime about what it could not do"},
    }
    show_tasks([Task.from_view(view | {"id": task_id}) for task_id in ids])
    lines = capsys.readouterr().out.splitlines()
    assert all(any(f"{task_id} " in line and "cancelling" in line for line in lines) for task_id in ids)


def test_where_there_is_nothing_no_empty_table_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show_tasks([])
    show_letters([])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "no task is like that\nno dead letters\n")


@pytest.mark.parametrize("command", ["submit", "list", "dead-letters"])
def test_the_examples_of_a_command_keep_their_lines(command: str) -> None:
    text = CliRunner().invoke(make_app(), [command, "--help"], env={"COLUMNS": "80"}, prog_name="darkroom").output
    examples = text.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert len(examples) > 1
    assert all(line.strip().startswith(f"darkroom {command}") for line in examples)


def test_usage_is_shown_with_its_sum_and_says_where_a_price_is_not_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    priced = {"tasks": 2, "gpu_seconds": 3.5, "usd": 0.25, "unpriced_tasks": 0}
    unpriced = {"tasks": 1, "gpu_seconds": 1.0, "usd": None, "unpriced_tasks": 1}
    rows = [{"tag:team": "ads", **priced}, {"tag:team": None, **unpriced}]
    total = {"tasks": 3, "gpu_seconds": 4.5, "usd": None, "unpriced_tasks": 1}
    show_usage({"by": ["tag:team"], "rows": rows, "rest": None, "total": total})
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["ads", "2", "3.5", "0.250000"] in lines
    assert ["-", "1", "1.0", "unknown"] in lines
    assert ["total", "3", "4.5", "unknown"] in lines
    assert "of 1 tasks is not known" in err

"""The operator's server sees a result before it is stored, and may refuse it; its silence means what a setting says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from agent import check as module
from agent.check import Check, UnansweredError, read_verdict
from agent.errors import PermanentError, TransientError
from agent.holdings import Delivery, Held
from agent.operations.metrics import Metrics
from agent.outcomes import Answered, Raised
from agent.release import Release
from agent.runtimes.base import Answer, Output
from contract.outputs import OutputCheck, WhenUnanswered
from contract.record import NotHolderError
from contract.task import TaskMessage

PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 200_000
ANSWER = Answer([Output(PNG, "a.png"), Output(b"words", "b.txt")], b'{"whole": "answer"}', ("a warning",))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "backoff", lambda _: 0.0)


def held(tenant: str = "alice") -> Held:
    metadata = {"id": "a", "tenant": tenant, "runtime": "r", "tasktype": "text-to-image", "prefix": "p"}
    made = Held(Delivery("m", "m", "{}"), submission_id="01", attempt=1)
    made.task = TaskMessage.model_validate({"metadata": metadata, "content": {}})
    return made


class Server:
    """Answers with what it is told, one after the other, the last one again and again."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[list[tuple[str | None, str, bytes]]] = []
        self.headers: list[Any] = []

    async def hear(self, request: web.Request) -> web.StreamResponse:
        parts = []
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            kind = f"{part.name} {part.headers['Content-Type']}"
            parts.append((part.filename, kind, bytes(await part.read())))
        self.asked.append(parts)
        self.headers.append(request.headers)
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status == 0:
            await asyncio.sleep(30)
        return web.Response(status=status, text=body if isinstance(body, str) else json.dumps(body), headers=LOCATION)

    @asynccontextmanager
    async def check(self, token: str = "", **rules: Any) -> AsyncIterator[Check]:
        application = web.Application(client_max_size=2**24)
        application.router.add_post("/check", self.hear)
        runner = web.AppRunner(application, shutdown_timeout=0.01)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as session:
                yield Check(session, OutputCheck(url=f"http://127.0.0.1:{port}/check", **rules), SecretStr(token))
        finally:
            await runner.cleanup()


LOCATION = {"Location": "/elsewhere"}


async def test_it_gets_the_task_and_its_files_and_lets_them_pass() -> None:
    server = Server((200, {"allow": True}))
    async with server.check(token="secret") as check:
        assert await check.judge(held(), ANSWER) == ()
    (parts,) = server.asked
    assert [(name, kind) for name, kind, _ in parts] == [
        (None, "task text/plain; charset=utf-8"),
        ("1.png", "file image/png"),
        ("2.txt", "file text/plain"),
    ]
    assert json.loads(parts[0][2]) == {
        "id": "a",
        "tenant": "alice",
        "submission": "01",
        "attempt": 1,
        "runtime": "r",
        "tasktype": "text-to-image",
        "files": [
            {"number": 1, "media_type": "image/png", "bytes": len(PNG)},
            {"number": 2, "media_type": "text/plain", "bytes": 5},
        ],
    }
    assert [data for _, _, data in parts[1:]] == [PNG, b"words"]
    assert server.headers[0]["Authorization"] == "Bearer secret"


async def test_a_refusal_is_for_good_and_says_why() -> None:
    server = Server((200, {"allow": False, "reason": "it shows\n a logo"}))
    async with server.check() as check:
        with pytest.raises(PermanentError, match="refused before it was stored: it shows a logo") as caught:
            await check.judge(held(), ANSWER)
    assert caught.value.code == "output_refused"
    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [(503, ""), (302, ""), (200, "yes"), (200, {"allow": "no"}), (0, "")])
async def test_what_is_no_verdict_is_asked_again_and_then_fails_the_attempt(answer: tuple[int, Any]) -> None:
    server = Server(answer)
    async with server.check(tries=2, timeout_seconds=0.5) as check:
        with pytest.raises(TransientError, match="no verdict") as caught:
            await check.judge(held(), ANSWER)
    assert caught.value.code == "output_check_failed"
    assert len(server.asked) == 2


async def test_one_that_comes_back_in_time_is_heard() -> None:
    server = Server((500, ""), (204, ""))
    async with server.check() as check:
        assert await check.judge(held(), ANSWER) == ()


async def test_where_silence_is_accepted_the_record_is_warned() -> None:
    async with Server((500, "")).check(tries=1, when_unanswered=WhenUnanswered.ACCEPT) as check:
        (warning,) = await check.judge(held(), ANSWER)
    assert warning == "the output check gave no verdict (status 500); the result was stored unseen"


async def test_a_server_that_is_not_there_gives_no_verdict() -> None:
    async with aiohttp.ClientSession() as session:
        check = Check(session, OutputCheck(url="http://127.0.0.1:9/check"), SecretStr(""))
        with pytest.raises(TransientError, match="ClientConnectorError"):
            await check.judge(held(), ANSWER)


async def test_a_release_gives_what_may_be_stored_or_the_error_that_the_task_ends_with() -> None:
    async with Server((204, "")).check() as check:
        passed = await Release(check, None, Metrics("r")).pass_through(held(), Answered(ANSWER, 2.0))
        assert passed == Answered(ANSWER, 2.0)
    async with Server((200, {"allow": False})).check() as check:
        refused = await Release(check, None, Metrics("r")).pass_through(held(), Answered(ANSWER, 2.0))
    assert isinstance(refused, Raised)
    assert (refused.error.code, refused.error.__traceback__) == ("output_refused", None)


async def test_nobody_is_asked_about_a_task_that_is_somebody_elses_by_now_or_has_no_files() -> None:
    server = Server((204, ""))
    async with server.check() as check:
        release = Release(check, None, Metrics("r"))
        overtaken = held()
        overtaken.refused = NotHolderError("another agent", None)
        assert await release.pass_through(overtaken, Answered(ANSWER, 1.0)) == Answered(ANSWER, 1.0)
        empty = Answer([], b"{}")
        assert await release.pass_through(held(), Answered(empty, 1.0)) == Answered(empty, 1.0)
    assert server.asked == []


@given(st.integers(100, 599), st.binary() | st.text().map(str.encode))
def test_only_a_plain_yes_lets_a_result_pass(status: int, body: bytes) -> None:
    try:
        reason = read_verdict(status, body)
    except UnansweredError:
        return
    assert (reason is None) == (status == 204 or json.loads(body)["allow"] is True)

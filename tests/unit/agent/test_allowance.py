"""A runtime that answers without end, or with far too much, costs its task, and never the agent's memory."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agent.errors import PermanentError
from agent.runtimes import allowance as module
from agent.runtimes.allowance import MOST_OUTPUTS, MOST_VALUES, Allowances, check_outputs, check_values
from agent.runtimes.comfyui.submission import CLIENT
from agent.runtimes.http import MOST_OF_REFUSAL, Server, open_session
from contract.task import RuntimeType, TaskType
from tests.support.graphs import plain
from tests.support.workflows import diffusion
from tests.unit.agent.runtime_support import adapter_of, web_server, whole
from tests.unit.fake_runtime.support import serving

MOST = 3_000_000
TOO_LARGE = f"answered with more than {MOST} bytes, .*OUTPUT_MAX_BYTES"
PIECE = b'"' + b"x" * 65_536


class Endless:
    """A server whose answers do not end, and which counts what it could send."""

    def __init__(self, *, status: int = 200, head: bytes = b"") -> None:
        self.status = status
        self.head = head
        self.sent = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/ready":
            return web.Response(text="{}")
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        await response.write(self.head)
        while True:
            await response.write(PIECE)
            self.sent += len(PIECE)


@asynccontextmanager
async def endless(**options: Any) -> AsyncIterator[tuple[Endless, Server]]:
    made = Endless(**options)
    async with web_server(made.answer) as url, open_session() as session, asyncio.timeout(30):
        yield made, Server(session, url, title="it", ready_path="/ready", most_bytes=MOST)


async def test_an_answer_without_end_is_read_to_the_limit_and_no_further() -> None:
    async with endless() as (made, server):
        with pytest.raises(PermanentError, match=TOO_LARGE) as caught:
            await server.request("GET", "/")
        assert caught.value.code == "answer_too_large"
        # Besides, what the buffers of both sides hold.
        assert MOST < made.sent < MOST + 20_000_000
        opened = await server.open("POST", "/", body=b"{}")
        with pytest.raises(PermanentError, match=TOO_LARGE):
            await opened.read(20)


async def test_an_answer_that_says_beforehand_that_it_is_too_large_is_not_read() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(MOST + 1)})
        await response.prepare(request)
        await asyncio.sleep(60)
        return response

    async with web_server(answer) as url, open_session() as session, asyncio.timeout(30):
        server = Server(session, url, title="it", ready_path="/", most_bytes=MOST)
        with pytest.raises(PermanentError, match=TOO_LARGE):
            await server.request("GET", "/")


async def test_a_compressed_answer_counts_by_what_comes_out_of_it() -> None:
    bomb = gzip.compress(bytes(100_000_000), 9)

    async def answer(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with web_server(answer) as url, open_session() as session:
        server = Server(session, url, title="it", ready_path="/", most_bytes=MOST)
        with pytest.raises(PermanentError, match=TOO_LARGE):
            await server.request("GET", "/")


@pytest.mark.parametrize("status", [301, 400, 500])
async def test_of_a_refusal_without_end_the_beginning_is_read(status: int) -> None:
    async with endless(status=status, head=b"why") as (_, server):
        reply = await server.request("GET", "/")
        assert reply.status == status
        assert len(reply.body) == MOST_OF_REFUSAL
        assert reply.body.startswith(b"why")


async def test_a_server_whose_sign_of_life_does_not_end_is_alive() -> None:
    async with endless() as (_, server):
        assert await Server(server._session, server._base, title="it", ready_path="/").is_alive()


async def test_a_large_answer_waits_for_another_one_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 10)
    allowances = Allowances("it", 100)
    async with allowances.one() as first, allowances.one() as second, allowances.one() as third:
        await first.take(11)
        await second.take(10)
        waiting = [asyncio.create_task(second.take(1)), asyncio.create_task(second.take(1))]
        await asyncio.sleep(0)
        await third.take(5)
        assert not any(task.done() for task in waiting)
        await first.take(80)
        first.give_back()
        await asyncio.gather(*waiting)
    async with allowances.one() as next_one, asyncio.timeout(1):
        await next_one.take(50)


async def test_who_is_cancelled_while_it_waits_does_not_keep_the_others_from_their_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LARGE", 10)
    allowances = Allowances("it", 100)
    async with allowances.one() as first:
        await first.take(11)
        async with allowances.one() as second:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await second.take(11)
    async with allowances.one() as third, asyncio.timeout(1):
        await third.take(11)


@pytest.mark.parametrize("text", ["[],", '{"a":1},', "1,"])
def test_json_of_too_many_values_is_refused_before_it_is_read(text: str) -> None:
    body = f"[{text * MOST_VALUES}1]"
    for document in (body, body.encode()):
        with pytest.raises(PermanentError, match="more than 1000000 values"):
            check_values(document, "it")
    check_values("x" * 2 * MOST_VALUES, "it")


def test_a_task_may_have_many_outputs_and_no_more() -> None:
    check_outputs(MOST_OUTPUTS, "it")
    with pytest.raises(PermanentError, match="it made 10001 outputs, and a task may have 10000"):
        check_outputs(MOST_OUTPUTS + 1, "it")


CONTENTS: dict[RuntimeType, tuple[TaskType, dict[str, Any]]] = {
    RuntimeType.SDWEBUI: (TaskType.TEXT_TO_IMAGE, {"prompt": "a dog", "steps": 1, "width": 512, "height": 512}),
    RuntimeType.COMFYUI: (TaskType.PIPELINE, diffusion()),
    RuntimeType.INVOKEAI: (TaskType.PIPELINE, plain(256, 256)),
}


@pytest.mark.parametrize("kind", CONTENTS)
async def test_each_type_of_runtime_has_the_limit_for_a_runs_answer(kind: RuntimeType, tmp_path: Path) -> None:
    task_type, content = CONTENTS[kind]
    async with serving(tmp_path, type=kind.value) as server:
        async with adapter_of(kind, server.url) as runtime:
            prepared = await runtime.prepare(task_type, content)
            size = (await whole(await runtime.run(prepared, run_id="1", progress=lambda _: None))).size
        async with adapter_of(kind, server.url, most_bytes=size // 2) as runtime, asyncio.timeout(30):
            prepared = await runtime.prepare(task_type, content)
            with pytest.raises(PermanentError, match="OUTPUT_MAX_BYTES"):
                await whole(await runtime.run(prepared, run_id="2", progress=lambda _: None))
            assert not runtime.left_running


async def test_a_runtime_of_ones_own_that_answers_without_end_is_told_to_stop() -> None:
    stopped = asyncio.Event()
    made = Endless(head=b'{"outputs": [{"data": "')

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "POST":
            return await made.answer(request)
        if request.method == "DELETE":
            stopped.set()
            return web.json_response({"error": {"code": "unknown_run", "message": "it has ended"}}, status=404)
        return web.json_response({})

    async with web_server(answer) as url, adapter_of(RuntimeType.HTTP, url, most_bytes=MOST) as runtime:
        prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, {"prompt": "a dog"})
        with pytest.raises(PermanentError, match=TOO_LARGE):
            await runtime.run(prepared, run_id="1", progress=lambda _: None)
    assert stopped.is_set()


@pytest.mark.parametrize("events", [1, 30])
async def test_events_that_are_too_large_end_the_run_one_by_one_or_all_together(events: int) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/prompt":
            return web.json_response({"prompt_id": (await request.json())["prompt_id"], "node_errors": {}})
        if request.path != "/ws":
            return web.json_response({"queue_running": [], "queue_pending": []})
        prompt_id = request.query["clientId"].removeprefix(CLIENT)
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        for number in range(events):
            output = {"text": ["x" * (MOST // events + 1)]}
            data = {"prompt_id": prompt_id, "node": str(number), "output": output}
            await socket.send_json({"type": "executed", "data": data})
        await socket.receive()
        return socket

    async with (
        web_server(answer) as url,
        adapter_of(RuntimeType.COMFYUI, url, most_bytes=MOST) as runtime,
        asyncio.timeout(30),
    ):
        prepared = await runtime.prepare(TaskType.PIPELINE, diffusion())
        with pytest.raises(PermanentError, match=TOO_LARGE):
            await runtime.run(prepared, run_id="1", progress=lambda _: None)

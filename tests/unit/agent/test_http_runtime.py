"""The adapter for runtimes of one's own, against the example."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes import Answer, Runtime, open_session
from agent.runtimes.http_runtime import adapter as module
from agent.runtimes.http_runtime.answer import failure_of, read_answer
from contract.task import RuntimeType, TaskType
from local.example_runtime import make_app
from tests.support.waiting import eventually_async
from tests.unit.agent.runtime_support import Links, adapter_of, cancel

adapter = partial(adapter_of, RuntimeType.HTTP)


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Serves an application on loopback, and tells its address."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def driving(app: web.Application, **links: bytes) -> AsyncIterator[Runtime]:
    """Serves an application, and drives it."""
    async with serving(app) as url, adapter(url, Links(**links)) as runtime:
        yield runtime


def scripted(answer: Any, status: int = 200) -> tuple[web.Application, list[Any]]:
    """A runtime that answers each task the same, and keeps what it was sent."""
    seen: list[Any] = []

    async def run(request: web.Request) -> web.Response:
        seen.append(await request.json())
        return web.json_response(answer, status=status)

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ready", "resident_bytes": 7_000_000})

    app = web.Application()
    app.router.add_post("/runs/{id}", run)
    app.router.add_get("/health", health)
    return app, seen


async def run(runtime: Runtime, name: str = "r-1", progress: Any = None, **content: Any) -> Answer:
    prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, {"prompt": "a dog", "steps": 2, **content})
    answer = await runtime.run(prepared, run_id=name, progress=progress or (lambda _: None))
    assert isinstance(answer, Answer)
    return answer


async def test_a_task_runs_to_its_outputs_and_the_answer_is_kept_as_it_came() -> None:
    async with driving(make_app()) as runtime:
        await runtime.wait_until_ready()
        assert await runtime.is_alive()
        answer = await run(runtime)
        (output,) = answer.outputs
        assert (output.data[:2], output.name) == (b"BM", "a.bmp")
        assert json.loads(answer.raw)["outputs"][0]["data"] == base64.b64encode(output.data).decode()
        assert not await runtime.restart()


async def test_the_runtime_gets_the_type_and_the_content_with_its_links_replaced() -> None:
    app, seen = scripted({"outputs": [{"data": "eA=="}]})
    link = "https://example.test/a.png"
    async with driving(app, a=b"picture") as runtime:
        await run(runtime, image=link, prompt=f"a sign that says {link}", nested={"masks": [link]})
        assert await runtime.resident_bytes() == 7_000_000
    encoded = base64.b64encode(b"picture").decode()
    content = {"prompt": f"a sign that says {link}", "steps": 2, "image": encoded, "nested": {"masks": [encoded]}}
    assert seen == [{"type": "text-to-image", "content": content}]


async def test_progress_is_told_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRESS_INTERVAL", 0.06)
    told: list[float] = []
    async with driving(make_app()) as runtime:
        await run(runtime, steps=8, progress=told.append)
    assert told
    assert told == sorted(told)
    assert 0 < told[0] <= told[-1] <= 1


async def test_a_cancelled_run_is_stopped_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANCEL_INTERVAL", 0.02)
    async with driving(make_app()) as runtime:
        task = asyncio.create_task(run(runtime, steps=1000))
        await asyncio.sleep(0.1)
        await cancel(task)
        assert not runtime.left_running
        assert (await run(runtime, "r-2")).outputs


async def test_a_run_that_does_not_stop_is_waited_for_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANCEL_INTERVAL", 0.02)
    monkeypatch.setattr(module, "CANCEL_GRACE", 0.1)
    gives_in, released = asyncio.Event(), asyncio.Event()

    async def stop(_: web.Request) -> web.Response:
        return web.Response(status=404 if gives_in.is_set() else 204)

    async def ready(_: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    async def endless(_: web.Request) -> web.Response:
        await released.wait()
        return web.json_response({"error": {"code": "cancelled", "message": "at last"}}, status=409)

    app = web.Application()
    app.router.add_delete("/runs/{id}", stop)
    app.router.add_post("/runs/{id}", endless)
    app.router.add_get("/health", ready)
    async with driving(app) as runtime:
        task = asyncio.create_task(run(runtime))
        await asyncio.sleep(0.1)
        await cancel(task)
        with pytest.raises(RuntimeUnavailableError, match="still at a run"):
            await run(runtime, "r-2")
        gives_in.set()
        released.set()
        async with asyncio.timeout(20):
            await runtime.wait_until_ready()
        assert not runtime.left_running


async def test_a_run_that_is_cancelled_before_the_server_knows_it_is_stopped_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CANCEL_INTERVAL", 0.02)
    unknown, stopped = asyncio.Event(), asyncio.Event()
    runs: set[str] = set()

    async def begin(request: web.Request) -> web.Response:
        await unknown.wait()  # it still reads the request, as a large one is for a while
        runs.add(request.match_info["id"])
        await stopped.wait()
        runs.clear()
        return web.json_response({"error": {"code": "cancelled", "message": "stopped"}}, status=409)

    async def stop(request: web.Request) -> web.Response:
        if request.match_info["id"] in runs:
            stopped.set()
            return web.Response(status=204)
        unknown.set()
        return web.Response(status=404)

    app = web.Application()
    app.router.add_post("/runs/{id}", begin)
    app.router.add_delete("/runs/{id}", stop)
    async with driving(app) as runtime:
        task = asyncio.create_task(run(runtime))
        await asyncio.sleep(0.05)
        await cancel(task)
        assert stopped.is_set()
        assert not runtime.left_running


async def test_what_killed_agents_have_left_is_stopped_at_the_first_meeting_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CANCEL_INTERVAL", 0.02)
    left, anothers = [f"{module.RUN_PREFIX}s-{number}/1" for number in range(2)], "somebody-elses"
    async with serving(make_app()) as url, open_session() as session:

        async def listed() -> list[str]:
            async with session.get(f"{url}/runs") as answer:
                return list((await answer.json())["runs"])

        async def is_here(name: str) -> bool:
            return name in await listed()

        for name in [left[0], anothers, left[1]]:
            body = {"type": "text-to-image", "content": {"prompt": "a dog", "steps": 100_000}}
            run = asyncio.create_task(session.post(f"{url}/runs/{quote(name, safe='')}", json=body))
            await eventually_async(partial(is_here, name))
            run.cancel()
        async with adapter(url) as runtime:
            await runtime.wait_until_ready()

        assert await listed() == [anothers]


async def test_a_runtime_that_went_away_is_said_to_be_unavailable() -> None:
    app, _ = scripted({})
    async with driving(app) as runtime:
        prepared = await runtime.prepare(TaskType.PIPELINE, {"prompt": "x"})
    async with adapter("http://127.0.0.1:9") as gone:
        with pytest.raises(RuntimeUnavailableError):
            await gone.run(prepared, run_id="r", progress=lambda _: None)
        assert not await gone.is_alive()


@pytest.mark.parametrize(
    ("status", "error", "kind", "code"),
    [
        (400, {"code": "invalid_content", "message": "steps: is missing"}, PermanentError, "invalid_content"),
        (422, {"code": "Not A Code", "message": "x"}, PermanentError, "rejected_by_runtime"),
        (404, None, RuntimeUnavailableError, "runtime_without_api"),
        (405, None, RuntimeUnavailableError, "runtime_without_api"),
        (404, {"code": "unknown_model", "message": "x"}, PermanentError, "unknown_model"),
        (401, None, RuntimeUnavailableError, "runtime_unauthorized"),
        (409, {"code": "cancelled", "message": "x"}, TransientError, "interrupted"),
        (409, {"code": "already_running", "message": "x"}, TransientError, "already_running"),
        (429, None, TransientError, "runtime_error"),
        (500, {"code": "out_of_memory", "message": "too large"}, TransientError, "out_of_memory"),
        (500, None, TransientError, "runtime_error"),
        (503, {"code": "loading", "message": "the model loads"}, RuntimeUnavailableError, "runtime_not_ready"),
    ],
)
def test_failures_are_told_apart(status: int, error: Any, kind: type[TaskError], code: str) -> None:
    found = failure_of(status, json.dumps({"error": error} if error else {}).encode())
    assert type(found) is kind
    assert found.code == code


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", TransientError),
        (b"[]", TransientError),
        (b'{"outputs": 7}', TransientError),
        (b'{"outputs": [{}]}', TransientError),
        (b'{"outputs": [{"data": "?"}]}', TransientError),
        ('{"outputs": [{"data": "ä"}]}'.encode(), TransientError),
        (b'{"outputs": []}', PermanentError),
    ],
)
async def test_an_answer_that_is_none_is_refused(body: bytes, kind: type[TaskError]) -> None:
    with pytest.raises(kind):
        await read_answer(body)


@given(st.binary(max_size=40), st.integers(min_value=201, max_value=599))
def test_every_failure_has_a_code_and_a_sentence(body: bytes, status: int) -> None:
    error = failure_of(status, body)
    assert error.code
    assert error.message


@given(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=4))
def test_outputs_come_out_as_they_went_in(outputs: list[bytes]) -> None:
    body = json.dumps({"outputs": [{"data": base64.b64encode(data).decode()} for data in outputs]}).encode()
    assert [output.data for output in asyncio.run(read_answer(body)).outputs] == outputs


@pytest.mark.parametrize("body", ["", "ok", "{}", '{"status": "loading"}', '["ready"]'])
async def test_a_runtime_is_ready_only_when_it_says_so(body: str) -> None:
    said = body

    async def health(_: web.Request) -> web.Response:
        return web.Response(text=said)

    app = web.Application()
    app.router.add_get("/health", health)
    async with driving(app) as runtime:
        assert not await runtime.is_alive()
        said = '{"status": "ready"}'
        assert await runtime.is_alive()

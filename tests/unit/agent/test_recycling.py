"""When a runtime is to be restarted, who is asked, and how its memory is seen."""

from __future__ import annotations

import asyncio
import os
import runpy
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.operations import recycling as module
from agent.operations.process_memory import listener_of, local_port, resident_bytes
from agent.operations.recycling import Limits, RecycleBy, Recycling, RuntimeMemory, due
from contract.task import RuntimeType
from tests.support.processes import ROOT
from tests.support.waiting import until
from tests.unit.agent.runtime_support import Handler, adapter_of, drop_posts, web_server
from tests.unit.fake_runtime.support import serving


@given(st.integers(0, 50), st.none() | st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_a_restart_is_due_at_a_limit_and_only_after_some_work(
    tasks: int, resident: int | None, most_tasks: int, most_bytes: int
) -> None:
    reason = due(Limits(tasks=most_tasks, resident_bytes=most_bytes), tasks=tasks, resident=resident)
    by_tasks = 0 < most_tasks <= tasks
    by_memory = 0 < most_bytes < (resident or 0)
    assert bool(reason) == (tasks > 0 and (by_tasks or by_memory))


async def nothing() -> int | None:
    return None


def recycling(by: RecycleBy, **limits: float) -> Recycling:
    return Recycling(by, Limits(**limits), nothing)  # type: ignore[arg-type]


def test_tasks_are_counted_from_the_runtimes_start() -> None:
    counted = recycling(RecycleBy.EXIT, tasks=2)
    counted.note_run()
    counted.note_start()
    counted.note_run()
    assert not counted.judge()
    counted.note_run()
    assert counted.judge()
    assert "RECYCLE_AFTER_TASKS=2" in counted.reason


def test_where_nobody_restarts_it_nothing_is_ever_wanted() -> None:
    counted = recycling(RecycleBy.NOBODY)
    counted.want("it is stuck")
    assert (counted.judge(), counted.stuck_after) == (False, None)


adapter = partial(adapter_of, RuntimeType.SDWEBUI)


def answering(statuses: dict[str, int]) -> tuple[Handler, list[str]]:
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        route = f"{request.method} {request.path}"
        if request.method == "POST" or "reboot" in request.path:
            asked.append(route)
        return web.json_response({}, status=statuses.get(route, 404))

    return answer, asked


@pytest.mark.parametrize(
    ("kind", "statuses", "taken", "asked"),
    [
        (RuntimeType.SDWEBUI, {"POST /sdapi/v1/server-restart": 200}, True, 1),
        (RuntimeType.SDWEBUI, {"POST /sdapi/v1/server-restart": 501, "POST /sdapi/v1/server-kill": 200}, True, 2),
        (RuntimeType.SDWEBUI, {"POST /sdapi/v1/restart": 204}, True, 3),
        (RuntimeType.SDWEBUI, {}, False, 3),
        (RuntimeType.COMFYUI, {"POST /v2/manager/reboot": 200}, True, 1),
        (RuntimeType.COMFYUI, {"POST /v2/manager/reboot": 405, "GET /manager/reboot": 200}, True, 4),
        (RuntimeType.COMFYUI, {"POST /v2/manager/reboot": 403}, False, 1),
        (RuntimeType.COMFYUI, {}, False, 4),
    ],
)
async def test_a_server_is_asked_by_its_own_routes(
    kind: RuntimeType, statuses: dict[str, int], taken: bool, asked: int
) -> None:
    handler, calls = answering(statuses)
    async with web_server(handler) as origin, adapter_of(kind, origin) as runtime:
        assert await runtime.restart() is taken
    assert len(calls) == asked


async def test_a_server_that_ends_in_the_middle_of_its_answer_has_taken_the_request() -> None:
    async with web_server(drop_posts) as origin, adapter(origin) as runtime:
        assert await runtime.restart()


async def test_by_probe_the_agent_asks_until_the_runtime_has_gone() -> None:
    wanted = recycling(RecycleBy.PROBE)
    gone = asyncio.Event()

    async def mortal(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({}, status=503 if gone.is_set() else 200)

    async with web_server(mortal) as origin, adapter(origin) as runtime:
        wanted.want("it is stuck")
        asking = asyncio.create_task(wanted.restart(runtime, lambda: None))
        await asyncio.sleep(0.05)
        assert wanted.is_asked_by_probe
        assert not asking.done()
        gone.set()
        async with asyncio.timeout(30):
            await asking
    assert (wanted.reason, wanted.exiting) == ("", False)


async def test_a_probe_finds_a_file_while_a_restart_is_wanted_and_only_then(tmp_path: Path) -> None:
    mark = tmp_path / "restart"
    mark.touch()
    wanted = Recycling(RecycleBy.PROBE, Limits(), nothing, mark)
    assert not mark.exists(), "an agent that was killed had left it"
    gone = asyncio.Event()

    async def mortal(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({}, status=503 if gone.is_set() else 200)

    async with web_server(mortal) as origin, adapter(origin) as runtime:
        wanted.want("it is stuck")
        assert not mark.exists(), "something may still run"
        asking = asyncio.create_task(wanted.restart(runtime, lambda: None))
        await until(mark.exists)
        assert not asking.done()
        gone.set()
        async with asyncio.timeout(30):
            await asking
    assert not mark.exists()


async def test_a_folder_that_is_not_there_stops_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GONE_WITHIN", 0.05)
    wanted = Recycling(RecycleBy.PROBE, Limits(), nothing, tmp_path / "nowhere" / "restart")
    wanted.want("it is stuck")
    with capture_logs() as lines:
        async with serving(type="sdwebui") as webui, adapter(webui.url) as runtime:
            await wanted.restart(runtime, lambda: None)
    assert [line["setting"] for line in lines if line["event"] == "restart_cannot_be_asked_for"] == ["RECYCLE_FILE"]


async def test_when_nobody_comes_the_agent_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GONE_WITHIN", 0.05)
    wanted = recycling(RecycleBy.PROBE, tasks=1)
    wanted.note_run()
    assert wanted.judge()
    async with serving(type="sdwebui") as webui, adapter(webui.url) as runtime:
        await wanted.restart(runtime, lambda: None)
    assert not wanted.judge(), "counted anew"


def test_only_addresses_of_this_machine_have_a_process_to_look_at() -> None:
    assert local_port("http://127.0.0.1:7860/x") == 7860
    assert local_port("http://user:secret@localhost:80") == 80
    assert local_port("http://[::1]:7860") == 7860
    assert local_port("http://10.0.0.1:7860") is None
    assert local_port("http://sdwebui:7860") is None


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_the_process_behind_a_port_is_found_and_measured() -> None:
    with listening() as port:
        assert listener_of(port) == os.getpid()
    assert listener_of(port) is None
    found = resident_bytes(os.getpid())
    assert found is not None
    assert 10_000_000 < found < 10_000_000_000


def test_what_cannot_be_seen_is_no_error(tmp_path: Path) -> None:
    assert listener_of(7860, tmp_path) is None
    assert resident_bytes(1, tmp_path) is None


async def test_sd_webui_tells_its_own_memory_where_its_process_cannot_be_seen() -> None:
    async with serving(type="sdwebui") as webui, adapter(webui.url) as runtime:
        seen = RuntimeMemory(runtime, "http://another-machine:7860")
        assert await seen() == await runtime.resident_bytes() == 16 * 1024**3
        assert (await RuntimeMemory(runtime, webui.url)() or 0) < 10 * 1024**3, "the process's own is better"


async def test_comfyui_tells_of_the_whole_machine_only_so_its_memory_stays_unknown() -> None:
    async with serving(type="comfyui") as comfy, adapter_of(RuntimeType.COMFYUI, comfy.url) as runtime:
        assert await RuntimeMemory(runtime, "http://another-machine:8188")() is None
        blind = Recycling(RecycleBy.EXIT, Limits(resident_bytes=1), RuntimeMemory(runtime, "http://another-machine:1"))
        await blind.look()
        blind.note_run()
        assert not blind.judge()


async def test_our_image_of_comfyui_tells_the_memory_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a custom node, which adds its route to the server's as ComfyUI has them (server.py, `PromptServer.routes`)."""
    routes = web.RouteTableDef()
    server = ModuleType("server")
    server.PromptServer = SimpleNamespace(instance=SimpleNamespace(routes=routes))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "server", server)
    node = runpy.run_path(str(ROOT / "local/runtimes/comfyui/custom_nodes/darkroom_memory.py"))
    assert node["NODE_CLASS_MAPPINGS"] == {}
    application = web.Application()
    application.add_routes(routes)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with adapter_of(RuntimeType.COMFYUI, f"http://127.0.0.1:{runner.addresses[0][1]}") as runtime:
            told, seen = await runtime.resident_bytes(), resident_bytes(os.getpid())
    finally:
        await runner.cleanup()
    assert told is not None
    assert seen is not None
    assert told == pytest.approx(seen, rel=0.2)

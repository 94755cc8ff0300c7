"""An interrupt is global: it must never hit the run after the one that it was meant for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from agent.errors import RuntimeUnavailableError
from agent.runtimes import Answer, Runtime
from agent.runtimes.comfyui import stopping as comfyui
from agent.runtimes.http import Reply
from agent.runtimes.sdwebui import adapter as sdwebui
from contract.task import RuntimeType, TaskType
from tests.support.stack import workflow
from tests.unit.agent.runtime_support import adapter_of, cancel, whole
from tests.unit.fake_runtime.support import Server, serving, until

KINDS: Final = [RuntimeType.SDWEBUI, RuntimeType.COMFYUI]

SERVERS: Final = [
    (RuntimeType.SDWEBUI, {}, "/interrupt"),
    (RuntimeType.COMFYUI, {"comfyui_version": "0.33"}, "/cancel"),
    (RuntimeType.COMFYUI, {"comfyui_version": "0.3.64"}, "/interrupt"),
]
"""Kind, options of the fake, and the end of the route that stops a run."""


@pytest.fixture(autouse=True)
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sdwebui, comfyui):
        monkeypatch.setattr(module, "INTERRUPT_GRACE", 0.2)
    monkeypatch.setattr(comfyui, "LEFT_INTERVAL", 0.05)


async def run(runtime: Runtime, kind: RuntimeType, prompt: str) -> Answer:
    if kind is RuntimeType.COMFYUI:
        prepared = await runtime.prepare(TaskType.PIPELINE, workflow(prompt))
    else:
        content = {"prompt": prompt, "width": 64, "height": 64, "steps": 4}
        prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, content)
    return await whole(await runtime.run(prepared, run_id=prompt, progress=lambda _: None))


@dataclass
class SlowInterrupts:
    """Keeps interrupts on their way to the server for as long as the test wants."""

    real: Any
    route: str = "/interrupt"
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    through: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0

    async def __call__(self, method: str, path: str, **options: Any) -> Reply:
        if path.endswith(self.route):
            self.sent += 1
            self.reached.set()
            await self.through.wait()
        reply: Reply = await self.real(method, path, **options)
        return reply


@asynccontextmanager
async def driven(kind: RuntimeType, **options: Any) -> AsyncIterator[tuple[Server, Runtime]]:
    async with serving(type=kind.value, **options) as server, adapter_of(kind, server.url) as runtime:
        yield server, runtime


async def outcomes(server: Server) -> list[str]:
    return [job["outcome"] for job in await server.jobs()]


@pytest.mark.parametrize(("kind", "options", "route"), SERVERS)
async def test_an_interrupt_that_is_late_is_waited_for_before_the_next_run(
    kind: RuntimeType, options: dict[str, str], route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with driven(kind, seconds_per_task=0.6, **options) as (server, runtime):
        slow = SlowInterrupts(runtime._server.request, route)  # type: ignore[attr-defined]
        monkeypatch.setattr(runtime._server, "request", slow)  # type: ignore[attr-defined]
        first = asyncio.create_task(run(runtime, kind, "first"))
        await server.running()
        await cancel(first)
        assert slow.sent == 1
        assert runtime.left_running
        with pytest.raises(RuntimeUnavailableError, match="given up"):
            await run(runtime, kind, "second")
        ready = asyncio.create_task(runtime.wait_until_ready())
        await until(lambda: server.gpu.job is None, "an idle GPU")
        await asyncio.wait({ready}, timeout=0.2)
        assert not ready.done(), "the interrupt may still stop whatever runs when it arrives"

        slow.through.set()

        async with asyncio.timeout(30):
            await ready
        assert (await run(runtime, kind, "second")).outputs
        assert await outcomes(server) == ["succeeded", "succeeded"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_runtime_that_ignores_the_interrupt_is_ready_only_when_it_has_let_go(kind: RuntimeType) -> None:
    async with driven(kind, seconds_per_task=1.0, faults=["interrupt-ignored:count=1"]) as (server, runtime):
        first = asyncio.create_task(run(runtime, kind, "first"))
        await server.running()
        await cancel(first)
        async with asyncio.timeout(10):
            await runtime.wait_until_ready()
        assert server.gpu.job is None
        assert (await run(runtime, kind, "second")).outputs
        assert (await outcomes(server))[1] == "succeeded"


@pytest.mark.parametrize(("kind", "options", "_route"), SERVERS)
async def test_a_run_that_ends_while_it_is_interrupted_leaves_nothing_behind(
    kind: RuntimeType, options: dict[str, str], _route: str
) -> None:
    async with driven(kind, seconds_per_task=0.1, **options) as (server, runtime):
        for number in range(6):
            first = asyncio.create_task(run(runtime, kind, f"first-{number}"))
            await server.running()
            # Around the end of the run: before, at, and after it.
            await asyncio.sleep(0.05 + 0.02 * number)
            first.cancel()
            await asyncio.wait({first})
            await runtime.wait_until_ready()
            assert (await run(runtime, kind, f"second-{number}")).outputs
        jobs = await server.jobs()
        assert [job["outcome"] for job in jobs if "second" in job["prompt"]] == ["succeeded"] * 6


@pytest.mark.parametrize("kind", KINDS)
async def test_an_agent_that_ends_does_not_wait_for_what_was_left(kind: RuntimeType) -> None:
    async with driven(kind, seconds_per_task=3, faults=["interrupt-ignored"]) as (server, runtime):
        first = asyncio.create_task(run(runtime, kind, "first"))
        await server.running()
        await cancel(first)
        async with asyncio.timeout(1):
            await runtime.close()


async def test_what_an_agent_that_died_has_left_running_is_stopped_by_the_next_one() -> None:
    kind = RuntimeType.COMFYUI
    async with driven(kind, seconds_per_task=10) as (server, first):
        orphan = asyncio.create_task(run(first, kind, "orphan"))
        await server.running()
        async with adapter_of(kind, server.url) as second, asyncio.timeout(30):
            await second.wait_until_ready()
            await until(lambda: server.gpu.job is None, "an idle GPU")
        orphan.cancel()
        await asyncio.wait({orphan})
        assert await outcomes(server) == ["interrupted"]


async def test_a_persons_prompt_is_left_alone() -> None:
    async with driven(RuntimeType.COMFYUI, seconds_per_task=0.8) as (server, runtime):
        person = await server.queue(workflow("a person"), client_id="a-browser")
        await server.running()
        await runtime.wait_until_ready()
        await server.finished(person)
        assert await outcomes(server) == ["succeeded"]

"""Several runs may be at a runtime at once: they keep their order, and stopping one leaves the others whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.runtimes import Answer, Runtime
from agent.runtimes.sdwebui.adapter import SdWebUi
from contract.task import RuntimeType, TaskType
from tests.unit.agent.runtime_support import adapter_of, cancel, whole
from tests.unit.agent.test_interrupts import KINDS, driven, outcomes, run
from tests.unit.fake_runtime.support import Server, serving, until

SMALL = {"width": 64, "height": 64, "steps": 4}


async def sent(server: Server, runtime: Runtime, prompt: str) -> None:
    """Returns once a run has been sent to the server."""
    if isinstance(runtime, SdWebUi):
        await until(lambda: len(runtime._line) == 2, "a second request")
        return
    async with asyncio.timeout(15):
        while prompt not in str(await server.get("/queue")):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.01)


async def two(server: Server, runtime: Runtime, kind: RuntimeType) -> tuple[asyncio.Task[Answer], asyncio.Task[Answer]]:
    """Returns two runs at the server: the first has begun, the second waits."""
    first = asyncio.create_task(run(runtime, kind, "first"))
    await server.running()
    second = asyncio.create_task(run(runtime, kind, "second"))
    await sent(server, runtime, "second")
    return first, second


def made_for(answer: Answer, prompt: str) -> bool:
    return prompt.encode() in answer.raw


@pytest.mark.parametrize("kind", KINDS)
async def test_the_second_run_begins_when_the_first_ends_and_each_gets_its_own_answer(kind: RuntimeType) -> None:
    async with driven(kind, seconds_per_task=0.4) as (server, runtime):
        first, second = await two(server, runtime, kind)
        answers = await asyncio.gather(first, second)
        jobs = await server.jobs()
        assert [job["outcome"] for job in jobs] == ["succeeded", "succeeded"]
        assert [name in job["prompt"] for name, job in zip(("first", "second"), jobs, strict=True)] == [True, True]
        assert [made_for(answer, name) for name, answer in zip(("first", "second"), answers, strict=True)] == [True] * 2
        assert not runtime.left_running


@pytest.mark.parametrize("kind", KINDS)
async def test_stopping_the_first_run_leaves_the_second_whole(kind: RuntimeType) -> None:
    async with driven(kind, seconds_per_task=1) as (server, runtime):
        first, second = await two(server, runtime, kind)
        await cancel(first)
        assert (await second).outputs
        jobs = await server.jobs()
        assert jobs[0]["outcome"] == "interrupted"
        assert jobs[-1]["outcome"] == "succeeded"
        assert "second" in jobs[-1]["prompt"]
        assert not runtime.left_running


@pytest.mark.parametrize("kind", KINDS)
async def test_stopping_the_waiting_run_leaves_the_first_whole_and_the_next_one_too(kind: RuntimeType) -> None:
    async with driven(kind, seconds_per_task=1) as (server, runtime):
        first, second = await two(server, runtime, kind)
        await cancel(second)
        assert not first.done(), "the waiting one is let go at once"
        third = asyncio.create_task(run(runtime, kind, "third"))
        assert (await first).outputs
        assert (await third).outputs
        found = {job["prompt"].split("\n")[0]: job["outcome"] for job in await server.jobs()}
        assert [outcome for prompt, outcome in found.items() if "second" in prompt] in ([], ["interrupted"])
        assert (await outcomes(server))[0] == "succeeded"
        assert (await outcomes(server))[-1] == "succeeded"
        assert not runtime.left_running


async def test_an_interrupt_that_hits_the_next_run_has_it_made_again() -> None:
    # SD Web UI lets go of the GPU before it has encoded its answer. A cancel that comes in between hits the next run.
    kind = RuntimeType.SDWEBUI
    async with driven(kind, seconds_per_task=0.8, faults=["slow-response:seconds=0.6,count=1"]) as (server, runtime):
        first, second = await two(server, runtime, kind)
        await until(lambda: server.gpu.job is not None and "second" in server.gpu.job.record.prompt, "the second run")
        assert not first.done()

        first.cancel()

        assert (await second).outputs
        assert await outcomes(server) == ["succeeded", "interrupted", "succeeded"]


async def test_a_run_that_needs_another_checkpoint_is_sent_when_the_server_has_nothing_else_to_do() -> None:
    kind = RuntimeType.SDWEBUI
    async with (
        serving(type=kind, seconds_per_task=0.4) as server,
        adapter_of(kind, server.url, dynamic=True) as runtime,
    ):
        titles = [model["title"] for model in await server.get("/sdapi/v1/sd-models")]

        async def made_with(prompt: str, **more: Any) -> str:
            content = {"prompt": prompt, **SMALL, **more}
            prepared = await runtime.prepare(TaskType.TEXT_TO_IMAGE, content)
            answer = await whole(await runtime.run(prepared, run_id=prompt, progress=lambda _: None))
            return answer.raw.decode()

        first = asyncio.create_task(made_with("first"))
        await server.running()
        names = [title.partition(".")[0] for title in titles[:2]]
        second = asyncio.create_task(made_with("second", override_settings={"sd_model_checkpoint": titles[1]}))
        third = asyncio.create_task(made_with("third", override_settings={"sd_model_checkpoint": titles[1]}))
        answers = await asyncio.gather(first, second, third)
        assert [name in answer for name, answer in zip((names[0], names[1], names[1]), answers, strict=True)] == [
            True,
            True,
            True,
        ]
        assert await outcomes(server) == ["succeeded"] * 3

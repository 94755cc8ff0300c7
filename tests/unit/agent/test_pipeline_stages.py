"""A runtime is warmed before its first task, restarted between two, and never sent a task while it is at another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent import runtime_follower as module
from agent.errors import PermanentError, RuntimeUnavailableError
from agent.holdings import Interruption
from agent.operations import recycling as recycling_module
from agent.operations import warm_up as warm_up_module
from agent.operations.lifecycle import State
from agent.operations.recycling import Limits, RecycleBy
from agent.operations.warm_up import WarmUpRequest, WarmUpState
from agent.outcomes import Answered, HandedBack
from contract.task import TaskType
from tests.unit.agent.test_pipeline import ANSWER, Agent

FIRST = WarmUpRequest(tasktype=TaskType.TEXT_TO_IMAGE, content={"name": "warm-up"})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ALIVE_INTERVAL", 0.02)
    monkeypatch.setattr(recycling_module, "POLL", 0.01)
    monkeypatch.setattr(warm_up_module, "RETRY_PAUSE", 0.0)


async def test_nothing_is_received_before_the_runtime_is_warm() -> None:
    agent = Agent(warm_up=FIRST)
    agent.put("a")
    async with agent.running():
        await agent.until(lambda: agent.runtime.started == ["warm-up"])
        assert agent.pipeline.state is State.WARMING
        assert agent.queue.received == []

        agent.runtime.end("warm-up").set_result(ANSWER)

        await agent.until(lambda: agent.runtime.started == ["warm-up", "a"])
        assert agent.warm_up.state is WarmUpState.DONE
        assert agent.lifecycle.seconds()[State.WARMING] > 0


async def test_each_start_of_the_runtime_is_warmed() -> None:
    agent = Agent(warm_up=FIRST)
    agent.put("a", "b", "c")
    async with agent.running():
        agent.runtime.end("warm-up").set_result(ANSWER)
        await agent.until(lambda: "a" in agent.runtime.started)
        agent.runtime.end("a").set_exception(RuntimeUnavailableError("gone", "the server went away"))

        await agent.until(lambda: agent.runtime.started == ["warm-up", "a", "warm-up", "c"])


async def test_a_warm_up_that_fails_is_said_and_stops_nobody() -> None:
    agent = Agent(warm_up=FIRST)
    agent.put("a")
    async with agent.running():
        agent.runtime.end("warm-up").set_exception(PermanentError("wrong", "the sampler is unknown"))

        await agent.until(lambda: agent.runtime.started == ["warm-up", "a"])
        assert agent.warm_up.state is WarmUpState.FAILED
        assert agent.pipeline.state is State.BUSY
        assert agent.pipeline.reason == "the sampler is unknown"


async def test_an_agent_that_warms_ends_when_it_is_told_to() -> None:
    agent = Agent(warm_up=FIRST)
    async with agent.running() as running:
        await agent.until(lambda: agent.pipeline.state is State.WARMING)
        agent.stop.set()
        async with asyncio.timeout(30):
            await running
    assert agent.runtime.stopped == ["warm-up"]


async def end_of(agent: Agent, *names: str) -> None:
    for name in names:
        await agent.until(lambda name=name: name in agent.runtime.started)  # type: ignore[misc]
        agent.runtime.end(name).set_result(ANSWER)


async def test_after_so_many_tasks_the_agent_ends_and_what_it_had_received_goes_back() -> None:
    agent = Agent(recycle_by=RecycleBy.EXIT, limits=Limits(tasks=2))
    agent.put("a", "b", "c")
    async with agent.running() as running:
        await end_of(agent, "a")
        await agent.until(lambda: "c" in agent.queue.received)
        await end_of(agent, "b")
        async with asyncio.timeout(30):
            await running
    assert agent.recycling.exiting
    assert agent.runtime.started == ["a", "b"]
    assert isinstance(agent.completing.outcomes["a"], Answered)
    assert isinstance(agent.completing.outcomes["b"], Answered)
    assert agent.completing.outcomes["c"] == HandedBack()


async def test_an_agent_that_is_told_to_end_does_not_ask_for_a_restart() -> None:
    agent = Agent(recycle_by=RecycleBy.EXIT, limits=Limits(tasks=1))
    agent.put("a")
    async with agent.running():
        await agent.until(lambda: agent.runtime.started == ["a"])
    assert not agent.recycling.exiting


async def test_a_runtime_that_takes_too_much_memory_is_restarted_after_its_task_and_the_agent_stays() -> None:
    agent = Agent(recycle_by=RecycleBy.API, limits=Limits(resident_bytes=1000))
    agent.runtime.resident = 2000
    agent.put("a", "b", "c")
    async with agent.running():
        await agent.until(lambda: agent.recycling.resident == 2000)
        assert agent.runtime.started == ["a"]
        assert agent.runtime.restarts == 0, "between tasks, not in one"
        await end_of(agent, "a")
        await agent.until(lambda: agent.runtime.restarts == 1)
        assert agent.pipeline.state is State.WAITING_FOR_RUNTIME
        assert "RECYCLE_ABOVE_RSS_BYTES" in agent.pipeline.reason
        assert agent.runtime.started == ["a"]

        agent.runtime.resident = 500
        agent.runtime.alive = False
        await agent.until(lambda: not agent.recycling.reason)
        agent.runtime.alive = True

        await agent.until(lambda: agent.runtime.started == ["a", "c"])
        assert agent.completing.outcomes["b"] == HandedBack()
        assert not agent.recycling.exiting


async def test_a_runtime_that_is_too_large_from_its_start_works_all_the_same() -> None:
    agent = Agent(recycle_by=RecycleBy.API, limits=Limits(resident_bytes=1000))
    agent.runtime.resident = 2000
    async with agent.running():
        await agent.until(lambda: agent.recycling.resident == 2000)
        agent.put("a")
        await agent.until(lambda: agent.runtime.started == ["a"])
        assert agent.runtime.restarts == 0


async def left_running(agent: Agent, *names: str) -> None:
    """Lets the first task's time run out on a runtime that goes on with it."""
    agent.runtime.left_running = True
    agent.runtime.ready.clear()
    agent.put(*names)
    await agent.until(lambda: "a" in agent.completing.outcomes)


async def test_a_runtime_that_is_still_at_a_run_gets_no_other_and_is_not_warmed_again() -> None:
    agent = Agent(task_timeout=0.05, warm_up=FIRST)
    async with agent.running():
        agent.runtime.end("warm-up").set_result(ANSWER)
        await agent.until(lambda: agent.pipeline.state is State.READY)
        await left_running(agent, "a", "b", "c")
        await agent.until(lambda: agent.pipeline.state is State.WAITING_FOR_RUNTIME)
        assert agent.runtime.started == ["warm-up", "a"]
        assert agent.pipeline.reason == "it does not end an interrupted run"

        agent.runtime.left_running = False
        agent.runtime.ready.set()

        await agent.until(lambda: agent.runtime.started[:2] == ["warm-up", "a"] and len(agent.runtime.started) > 2)
        assert agent.runtime.started[2] != "warm-up"


async def test_a_runtime_that_never_lets_go_is_to_be_restarted() -> None:
    agent = Agent(task_timeout=0.05, recycle_by=RecycleBy.EXIT, limits=Limits(stuck_after=0.05))
    async with agent.running() as running:
        await agent.until(lambda: agent.pipeline.state is State.READY)
        await left_running(agent, "a", "b")
        async with asyncio.timeout(30):
            await running
    assert agent.recycling.exiting
    assert "interrupted run" in agent.recycling.reason
    assert agent.runtime.started == ["a"]


async def test_where_nobody_restarts_it_a_runtime_that_never_lets_go_is_waited_for() -> None:
    agent = Agent(task_timeout=0.05, limits=Limits(stuck_after=0.05))
    async with agent.running() as running:
        await agent.until(lambda: agent.pipeline.state is State.READY)
        await left_running(agent, "a", "b")
        await asyncio.wait({running}, timeout=0.3)
        assert not running.done()
        assert agent.pipeline.state is State.WAITING_FOR_RUNTIME


async def test_a_cancel_that_comes_after_its_runs_end_does_not_stop_the_next_run() -> None:
    agent = Agent(prefetch=1)
    agent.completing.gate.clear()
    agent.put("a", "b")
    async with agent.running():
        await agent.until(lambda: agent.queue.received == ["a", "b"])
        held: dict[str, Any] = {item.delivery.message_id: item for item in agent.holdings}
        agent.runtime.end("a").set_result(ANSWER)
        # In the very moment of its end, and after the next one has begun.
        held["a"].interrupt(Interruption.CANCEL)
        await agent.until(lambda: agent.runtime.started == ["a", "b"])
        held["a"].interrupt(Interruption.CANCEL)
        await asyncio.sleep(0.05)
        assert agent.runtime.stopped == []
        assert isinstance(agent.completing.outcomes["a"], Answered)
        agent.runtime.end("b").set_result(ANSWER)
        await agent.until(lambda: "b" in agent.completing.outcomes)
        assert isinstance(agent.completing.outcomes["b"], Answered)

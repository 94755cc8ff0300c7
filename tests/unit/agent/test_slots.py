"""With two slots the next run waits at the runtime: it begins at once, and no time, blame or cancel is mixed up."""

from __future__ import annotations

import asyncio

import pytest

from agent import pipeline as pipeline_module
from agent.errors import RuntimeUnavailableError
from agent.holdings import Interruption
from agent.operations.lifecycle import State
from agent.operations.recycling import Limits, RecycleBy
from agent.outcomes import Answered, Cancelled, HandedBack, Raised
from agent.results import BYTES, LEAST
from agent.runtimes.base import Answer
from tests.unit.agent.test_pipeline import ANSWER, Agent, Slow

GONE = RuntimeUnavailableError("gone", "the server went away")


async def two_at_the_server(agent: Agent, *more: str) -> None:
    agent.put("a", "b", *more)
    await agent.until(lambda: agent.runtime.started == ["a", "b"])


async def test_the_next_run_waits_at_the_server_and_the_one_after_it_is_made_ready() -> None:
    agent = Agent(slots=2)
    async with agent.running():
        await two_at_the_server(agent, "c", "d")
        await agent.until(lambda: agent.queue.received == ["a", "b", "c"])
        assert agent.runtime.started == ["a", "b"]

        agent.runtime.end("a").set_result(ANSWER)

        await agent.until(lambda: agent.runtime.started == ["a", "b", "c"])
        await agent.until(lambda: agent.queue.received == ["a", "b", "c", "d"])


async def test_a_runs_time_counts_from_the_end_of_the_one_before_it() -> None:
    agent = Agent(slots=2)
    async with agent.running():
        await two_at_the_server(agent)
        await asyncio.sleep(0.3)
        agent.runtime.end("a").set_result(ANSWER)
        await agent.until(lambda: "a" in agent.completing.outcomes)
        agent.runtime.end("b").set_result(ANSWER)
        await agent.until(lambda: "b" in agent.completing.outcomes)

        first, second = agent.completing.outcomes["a"], agent.completing.outcomes["b"]
        assert isinstance(first, Answered)
        assert isinstance(second, Answered)
        assert first.seconds >= 0.3
        assert second.seconds < first.seconds


async def test_a_run_that_waits_does_not_run_out_of_its_time() -> None:
    agent = Agent(slots=2, task_timeout=0.2)
    async with agent.running():
        await two_at_the_server(agent)
        await agent.until(lambda: "a" in agent.completing.outcomes)

        assert isinstance(agent.completing.outcomes["a"], Raised)
        assert agent.runtime.stopped == ["a"]
        agent.runtime.end("b").set_result(ANSWER)
        await agent.until(lambda: "b" in agent.completing.outcomes)
        assert isinstance(agent.completing.outcomes["b"], Answered)


async def test_a_run_that_waits_can_be_cancelled_and_the_other_goes_on() -> None:
    agent = Agent(slots=2)
    async with agent.running():
        await two_at_the_server(agent)
        waiting = next(held for held in agent.holdings if held.delivery.message_id == "b")

        waiting.interrupt(Interruption.CANCEL)

        await agent.until(lambda: agent.completing.outcomes.get("b") == Cancelled())
        assert agent.runtime.stopped == ["b"]
        assert agent.pipeline.state is State.BUSY


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
async def test_a_server_that_goes_away_is_held_against_the_run_it_was_at_alone(order: tuple[str, str]) -> None:
    agent = Agent(slots=2)
    async with agent.running():
        await two_at_the_server(agent)
        agent.runtime.ready.clear()

        for name in order:
            agent.runtime.end(name).set_exception(GONE)

        await agent.until(lambda: set(agent.completing.outcomes) == {"a", "b"})
        assert isinstance(agent.completing.outcomes["a"], Raised)
        assert agent.completing.outcomes["b"] == HandedBack()


async def test_what_waits_behind_a_run_that_does_not_end_goes_back() -> None:
    agent = Agent(slots=2, task_timeout=0.1)
    async with agent.running():
        await two_at_the_server(agent)
        agent.runtime.left_running = True
        agent.runtime.ready.clear()

        await agent.until(lambda: agent.completing.outcomes.get("b") == HandedBack())

        assert agent.pipeline.state is State.WAITING_FOR_RUNTIME
        assert agent.pipeline.reason == "it does not end an interrupted run"


async def test_a_runtime_is_restarted_only_when_every_run_that_was_sent_to_it_has_ended_and_arrived() -> None:
    agent = Agent(slots=2, recycle_by=RecycleBy.API, limits=Limits(tasks=1))
    async with agent.running():
        await two_at_the_server(agent, "c")
        agent.runtime.end("a").set_result(ANSWER)
        await agent.until(lambda: agent.pipeline.state is State.WAITING_FOR_RUNTIME)
        answer = Slow()
        agent.runtime.end("b").set_result(answer)
        await asyncio.sleep(0.05)
        assert agent.runtime.restarts == 0
        assert agent.runtime.started == ["a", "b"]

        answer.rest.set_result(ANSWER)

        await agent.until(lambda: agent.runtime.restarts == 1)
        assert isinstance(agent.completing.outcomes["a"], Answered)
        await agent.until(lambda: isinstance(agent.completing.outcomes.get("b"), Answered))


async def test_at_shutdown_what_was_sent_may_finish_and_past_the_grace_period_all_of_it_goes_back() -> None:
    agent = Agent(slots=2, grace_period=0.2)
    async with agent.running() as task:
        await two_at_the_server(agent)
        agent.stop.set()

        await agent.until(task.done)

    assert sorted(agent.runtime.stopped) == ["a", "b"]
    assert agent.completing.outcomes == {"a": HandedBack(), "b": HandedBack()}


async def test_large_results_in_memory_stay_few_with_two_slots_too() -> None:
    agent = Agent(slots=2)
    agent.completing.gate.clear()
    large = Answer(outputs=[], raw=bytes(BYTES // LEAST))
    names = [f"task-{number}" for number in range(LEAST + 2)]
    agent.put(*names)
    async with agent.running():
        for name in names:
            agent.runtime.end(name).set_result(large)
        await agent.until(lambda: len(agent.completing.outcomes) == LEAST)
        assert agent.runtime.started == names[:LEAST]
        agent.completing.gate.set()
        await agent.until(lambda: agent.runtime.started == names)


async def test_a_restart_waits_for_the_answers_of_earlier_runs_too() -> None:
    agent = Agent(recycle_by=RecycleBy.API, limits=Limits(tasks=2))
    agent.put("a", "b")
    async with agent.running():
        answer = Slow()
        agent.runtime.end("a").set_result(answer)
        agent.runtime.end("b").set_result(ANSWER)
        await agent.until(lambda: isinstance(agent.completing.outcomes.get("b"), Answered))
        await agent.until(lambda: agent.pipeline.state is State.WAITING_FOR_RUNTIME)
        await asyncio.sleep(0.05)
        assert agent.runtime.restarts == 0

        answer.rest.set_result(ANSWER)

        await agent.until(lambda: agent.runtime.restarts == 1)
        await agent.until(lambda: isinstance(agent.completing.outcomes.get("a"), Answered))


async def test_at_shutdown_an_answer_that_arrives_has_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "COMPLETION_GRACE", 1)
    agent = Agent(grace_period=30)
    agent.put("a")
    async with agent.running() as task:
        answer = Slow()
        agent.runtime.end("a").set_result(answer)
        await agent.until(lambda: agent.pipeline.state is State.READY and agent.runtime.started == ["a"])
        agent.stop.set()
        await asyncio.wait({task}, timeout=1.5)
        assert not task.done()

        answer.rest.set_result(ANSWER)

        await agent.until(task.done)
    assert isinstance(agent.completing.outcomes["a"], Answered)

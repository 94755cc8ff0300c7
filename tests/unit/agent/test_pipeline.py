"""The stages overlap, the GPU goes first, and the order of a shutdown holds; with a scripted queue and runtime."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agent import pipeline as pipeline_module
from agent import running as running_module
from agent import runtime_follower
from agent.completion import Completion
from agent.errors import PermanentError, RuntimeUnavailableError, TransientError
from agent.holdings import Delivery, Held, Holdings
from agent.operations.lifecycle import Lifecycle, State
from agent.operations.metrics import Metrics
from agent.operations.recycling import Limits, RecycleBy, Recycling
from agent.operations.telemetry import NoTracer
from agent.operations.warm_up import WarmUp, WarmUpRequest
from agent.outcomes import Answered, HandedBack, Outcome, Raised
from agent.pipeline import Pipeline
from agent.preparation import Preparation
from agent.release import Release
from agent.results import LEAST, MOST
from agent.runtimes.base import Answer, Arriving, Prepared
from agent.task_queue import TaskQueue
from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.record import Record, Submission
from contract.store import RecordStore, Stored
from contract.task import RuntimeType, TaskMessage, TaskType
from tests.support.waiting import until

ANSWER = Answer(outputs=[], raw=b"{}")


class Queue(TaskQueue):
    """Hands out what is put in, and waits as a long poll does."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.received: list[str] = []
        self.broken = False

    async def receive(self, count: int) -> list[Delivery]:
        if self.broken:
            raise TimeoutError
        name = await self.messages.get()
        self.received.append(name)
        return [Delivery(name, name, "{}")]

    async def renew(self, held: Iterable[Held]) -> dict[str, bool]:
        return {item.delivery.message_id: True for item in held}


class Preparing(Preparation):
    """Makes every message ready at once."""

    def __init__(self) -> None:
        pass

    def read(self, held: Held) -> Outcome | None:
        return None

    async def prepare(self, held: Held) -> Outcome | None:
        name = held.delivery.message_id
        metadata = {"id": name, "runtime": "r", "tasktype": "text-to-image", "prefix": "p"}
        held.task = TaskMessage.model_validate({"metadata": metadata, "content": {}})
        held.submission_id = name
        submission = Submission.model_validate(metadata | {"submission": name, "submitted_at": "2026-01-01T00:00:00Z"})
        held.keep(Stored(Record(id=name, current=submission), "etag"))
        held.prepared = Prepared(TaskType.TEXT_TO_IMAGE, {"name": name})
        return None


class Completing(Completion):
    """Notes what came out; waits at `gate` before a result counts as stored, and at `topic` before it is announced."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.gate, self.topic = asyncio.Event(), asyncio.Event()
        self.gate.set()
        self.topic.set()
        self.announcing = 0
        self.refuses_start_of = ""

    async def start(self, held: Held) -> None:
        if held.delivery.message_id == self.refuses_start_of:
            raise ValueError("S3 refuses the record")
        held.attempt = 1

    async def conclude(self, held: Held, outcome: Outcome) -> str | None:
        if held.starting is not None:
            await held.starting
        self.outcomes[held.delivery.message_id] = outcome
        await self.gate.wait()
        return None

    async def settle(self, held: Held) -> str:
        self.announcing += 1
        await self.topic.wait()
        return "succeeded"


class Runtime:
    """Runs tasks for as long as the test wants."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.alive = True
        self.started: list[str] = []
        self.stopped: list[str] = []
        self.ends: dict[str, asyncio.Future[Answer | Arriving]] = {}
        self.deaf = False
        self.left_running = False
        self.resident: int | None = None
        self.restarts = 0

    def end(self, name: str) -> asyncio.Future[Answer | Arriving]:
        return self.ends.setdefault(name, asyncio.get_running_loop().create_future())

    async def wait_until_ready(self) -> None:
        await self.ready.wait()

    async def is_alive(self) -> bool:
        return self.alive

    async def prepare(
        self, task_type: TaskType, content: dict[str, Any], *, tenant: str = "", rules: InputRules = NO_RULES
    ) -> Prepared:
        return Prepared(task_type, content)

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        name = prepared.content["name"]
        self.started.append(name)
        while True:
            try:
                return await asyncio.shield(self.end(name))
            except asyncio.CancelledError:
                self.stopped.append(name)
                if not self.deaf:
                    raise

    async def resident_bytes(self) -> int | None:
        return self.resident

    async def tell_environment(self) -> Lock:
        return Lock(type=RuntimeType.SDWEBUI)

    async def restart(self) -> bool:
        self.restarts += 1
        return True

    async def close(self) -> None:
        pass


class Slow:
    """An answer whose head is here; its rest comes when the test lets it."""

    def __init__(self) -> None:
        self.rest: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.dropped = False

    async def read(self) -> Answer:
        return await self.rest

    def drop(self) -> None:
        self.dropped = True


class Agent:
    """A pipeline and all that a test pulls at."""

    def __init__(
        self,
        *,
        prefetch: int = 1,
        slots: int = 1,
        task_timeout: float = 60,
        grace_period: float = 60,
        warm_up: WarmUpRequest | None = None,
        recycle_by: RecycleBy = RecycleBy.NOBODY,
        limits: Limits | None = None,
        release: Release | None = None,
    ) -> None:
        self.queue, self.runtime, self.completing = Queue(), Runtime(), Completing()
        self.holdings, self.metrics, self.stop = Holdings(), Metrics("r"), asyncio.Event()
        self.lifecycle = Lifecycle()
        self.warm_up = WarmUp(warm_up, timeout=60)
        self.recycling = Recycling(recycle_by, limits or Limits(), self.runtime.resident_bytes)
        self.pipeline = Pipeline(
            queue=self.queue,
            store=cast("RecordStore", None),
            runtime=self.runtime,
            holdings=self.holdings,
            preparation=Preparing(),
            completion=self.completing,
            metrics=self.metrics,
            tracer=NoTracer(),
            visibility_timeout=60,
            prefetch=prefetch,
            slots=slots,
            task_timeout=task_timeout,
            grace_period=grace_period,
            warm_up=self.warm_up,
            recycling=self.recycling,
            lifecycle=self.lifecycle,
            release=release,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.pipeline.run(self.stop))
        try:
            yield task
        finally:
            self.stop.set()
            for end in self.runtime.ends.values():
                if not end.done():
                    end.set_result(ANSWER)
            self.completing.gate.set()
            self.completing.topic.set()
            async with asyncio.timeout(60):
                await task

    def put(self, *names: str) -> None:
        for name in names:
            self.queue.messages.put_nowait(name)

    async def until(self, check: Callable[[], object]) -> None:
        await until(check)


async def test_while_one_task_runs_the_next_is_prepared_and_no_more_is_taken() -> None:
    agent = Agent(prefetch=1)
    agent.put("a", "b", "c")
    async with agent.running():
        await agent.until(lambda: agent.queue.received == ["a", "b"])
        assert agent.runtime.started == ["a"]
        assert agent.pipeline.state is State.BUSY

        agent.runtime.end("a").set_result(ANSWER)

        await agent.until(lambda: agent.runtime.started == ["a", "b"])
        await agent.until(lambda: agent.queue.received == ["a", "b", "c"])


async def test_what_comes_during_a_long_run_is_left_to_others_until_a_moment_before_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.pace.LEAD", 0.2)
    monkeypatch.setattr("agent.pace.Pace.note_preparation", lambda *_: None)  # however busy the machine is
    agent = Agent(prefetch=1)
    agent.put("a")
    async with agent.running():
        await agent.until(lambda: agent.runtime.started == ["a"])
        await asyncio.sleep(1.0)
        agent.runtime.end("a").set_result(ANSWER)
        await agent.until(lambda: "a" in agent.completing.outcomes)
        agent.put("b")
        await agent.until(lambda: agent.runtime.started == ["a", "b"])
        agent.put("c")

        await agent.until(lambda: agent.queue.received == ["a", "b", "c"])

        run = agent.pipeline._turns.head
        assert run is not None
        assert run.elapsed >= 0.8
        assert agent.runtime.started == ["a", "b"]


async def test_without_prefetch_nothing_is_taken_while_a_task_runs() -> None:
    agent = Agent(prefetch=0)
    agent.put("a", "b")
    async with agent.running():
        await agent.until(lambda: agent.runtime.started == ["a"])
        assert agent.queue.received == ["a"]

        agent.runtime.end("a").set_result(ANSWER)

        await agent.until(lambda: agent.runtime.started == ["a", "b"])


async def test_the_gpu_does_not_wait_for_uploads_until_too_many_results_are_in_memory() -> None:
    agent = Agent()
    agent.completing.gate.clear()
    names = [f"task-{number}" for number in range(MOST + 2)]
    agent.put(*names)
    async with agent.running():
        for name in names[:MOST]:
            agent.runtime.end(name).set_result(ANSWER)
        await agent.until(lambda: len(agent.completing.outcomes) == MOST)
        assert agent.runtime.started == names[:MOST]

        agent.completing.gate.set()

        await agent.until(lambda: names[MOST] in agent.runtime.started)


class Releasing(Release):
    """Holds each result until its test lets it go, and refuses one."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.gate = asyncio.Event()

    async def pass_through(self, held: Held, outcome: Answered) -> Outcome:
        name = held.delivery.message_id
        self.held.append(name)
        await self.gate.wait()
        return Raised(PermanentError("output_refused", "no")) if name == "b" else outcome


async def test_the_gpu_does_not_wait_while_results_are_checked_and_marked() -> None:
    release = Releasing()
    agent = Agent(release=release)
    agent.put("a", "b", "c")
    async with agent.running():
        for name in ("a", "b"):
            agent.runtime.end(name).set_result(ANSWER)
        await agent.until(lambda: release.held == ["a", "b"])
        await agent.until(lambda: agent.runtime.started == ["a", "b", "c"])
        assert agent.completing.outcomes == {}, "nothing is stored before"

        release.gate.set()

        await agent.until(lambda: agent.completing.outcomes.keys() == {"a", "b"})
        assert isinstance(agent.completing.outcomes["a"], Answered)
        assert isinstance(agent.completing.outcomes["b"], Raised)


async def test_the_next_run_begins_while_the_answer_of_the_last_one_is_still_arriving() -> None:
    agent = Agent()
    agent.put("a", "b")
    async with agent.running():
        answer = Slow()
        agent.runtime.end("a").set_result(answer)
        await agent.until(lambda: agent.runtime.started == ["a", "b"])
        assert "a" not in agent.completing.outcomes

        answer.rest.set_result(ANSWER)

        await agent.until(lambda: "a" in agent.completing.outcomes)
        assert isinstance(agent.completing.outcomes["a"], Answered)


async def test_answers_that_are_still_arriving_count_among_those_in_memory() -> None:
    agent = Agent()
    names = [f"task-{number}" for number in range(LEAST + 1)]
    answers = [Slow() for _ in range(LEAST)]
    agent.put(*names)
    async with agent.running():
        for name, answer in zip(names, answers, strict=False):
            agent.runtime.end(name).set_result(answer)
        await agent.until(lambda: agent.queue.received == names and len(agent.runtime.started) >= LEAST)
        assert agent.runtime.started == names[:LEAST]

        for answer in answers:
            answer.rest.set_result(ANSWER)

        await agent.until(lambda: agent.runtime.started == names)


async def test_an_answer_that_breaks_off_is_a_failed_attempt_and_no_other_tasks() -> None:
    agent = Agent()
    agent.put("a", "b")
    async with agent.running():
        answer = Slow()
        agent.runtime.end("a").set_result(answer)
        await agent.until(lambda: agent.runtime.started == ["a", "b"])

        answer.rest.set_exception(TransientError("connection_lost", "it broke off"))

        await agent.until(lambda: "a" in agent.completing.outcomes)
        outcome = agent.completing.outcomes["a"]
        assert isinstance(outcome, Raised)
        assert outcome.error.code == "connection_lost"
        assert "b" not in agent.completing.outcomes


@pytest.mark.parametrize("running", [False, True])
async def test_an_answer_whose_server_is_gone_says_so_of_the_runtime_unless_another_run_will(running: bool) -> None:
    agent = Agent()
    agent.put(*(["a", "b"] if running else ["a"]))
    async with agent.running():
        answer = Slow()
        agent.runtime.end("a").set_result(answer)
        await agent.until(lambda: agent.runtime.started == (["a", "b"] if running else ["a"]))
        await agent.until(lambda: agent.pipeline.state is (State.BUSY if running else State.READY))
        agent.runtime.ready.clear()

        answer.rest.set_exception(RuntimeUnavailableError("runtime_lost", "it went away"))

        await agent.until(lambda: "a" in agent.completing.outcomes)
        assert agent.pipeline.state is (State.BUSY if running else State.WAITING_FOR_RUNTIME)


async def test_a_run_that_begins_while_an_idle_runtime_is_looked_at_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_follower, "ALIVE_INTERVAL", 60)
    agent = Agent()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow() -> bool:
        asked.set()
        await answer.wait()
        return False

    monkeypatch.setattr(agent.runtime, "is_alive", slow)
    async with agent.running():
        await agent.until(lambda: agent.pipeline.state is State.READY)
        look = asyncio.create_task(agent.pipeline._follower.look())
        await asked.wait()
        agent.put("a")
        await agent.until(lambda: agent.runtime.started == ["a"])

        answer.set()
        await look

        assert agent.pipeline.state is State.BUSY


async def test_a_runtime_is_restarted_only_when_its_last_answer_has_arrived() -> None:
    agent = Agent(recycle_by=RecycleBy.API, limits=Limits(tasks=1))
    agent.put("a")
    async with agent.running():
        answer = Slow()
        agent.runtime.end("a").set_result(answer)
        await agent.until(lambda: agent.runtime.ends["a"].done() and agent.runtime.started == ["a"])
        await asyncio.sleep(0.05)
        assert agent.runtime.restarts == 0

        answer.rest.set_result(ANSWER)

        await agent.until(lambda: agent.runtime.restarts == 1)
        assert isinstance(agent.completing.outcomes["a"], Answered)


async def test_an_answer_is_let_go_as_soon_as_it_is_stored_however_long_its_callback_waits() -> None:
    agent = Agent()
    agent.completing.topic.clear()
    names = [f"task-{number}" for number in range(2 * MOST)]
    agent.put(*names)
    answers: list[weakref.ref[Answer]] = []
    async with agent.running():
        for number, name in enumerate(names, 1):
            answer = Answer(outputs=[], raw=name.encode())
            answers.append(weakref.ref(answer))
            agent.runtime.end(name).set_result(answer)
            del answer
            await agent.until(lambda: agent.completing.announcing == number)  # noqa: B023 - called within this turn
            del agent.runtime.ends[name], agent.completing.outcomes[name]

        assert [answer() for answer in answers] == [None] * len(names)


async def test_a_task_without_an_answer_takes_no_place_of_those_with_one() -> None:
    agent = Agent()
    agent.completing.gate.clear()
    names = [f"task-{number}" for number in range(MOST + 2)]
    agent.put(*names)
    async with agent.running():
        for name in names:
            agent.runtime.end(name).set_exception(TransientError("runtime_error", "it failed"))

        await agent.until(lambda: agent.runtime.started == names)


async def test_nothing_is_received_before_the_runtime_is_there() -> None:
    agent = Agent()
    agent.runtime.ready.clear()
    agent.put("a")
    async with agent.running():
        await agent.until(lambda: agent.pipeline.state is State.WAITING_FOR_RUNTIME)
        assert agent.queue.received == []

        agent.runtime.ready.set()

        await agent.until(lambda: agent.runtime.started == ["a"])


async def test_when_the_runtime_goes_away_the_waiting_task_is_handed_back_and_nothing_more_is_taken() -> None:
    agent = Agent()
    agent.put("a", "b", "c")
    async with agent.running():
        await agent.until(lambda: agent.queue.received == ["a", "b"])
        agent.runtime.ready.clear()

        agent.runtime.end("a").set_exception(RuntimeUnavailableError("gone", "the server went away"))

        await agent.until(lambda: {"a", "b"} <= set(agent.completing.outcomes))
        assert isinstance(agent.completing.outcomes["a"], Raised)
        assert agent.completing.outcomes["b"] == HandedBack()
        assert agent.pipeline.state is State.WAITING_FOR_RUNTIME
        assert agent.runtime.started == ["a"]

        agent.runtime.ready.set()

        await agent.until(lambda: agent.runtime.started == ["a", "c"])


async def test_a_run_that_takes_too_long_is_stopped_and_fails_for_good() -> None:
    agent = Agent(task_timeout=0.05)
    agent.put("a", "b")
    async with agent.running():
        await agent.until(lambda: "a" in agent.completing.outcomes)

        outcome = agent.completing.outcomes["a"]
        assert isinstance(outcome, Raised)
        assert outcome.error.code == "timed_out"
        assert agent.runtime.stopped[0] == "a"
        await agent.until(lambda: "b" in agent.runtime.started)


async def test_a_runtime_that_does_not_end_an_interrupted_run_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_module, "INTERRUPT_TIMEOUT", 0.05)
    agent = Agent(task_timeout=0.05)
    agent.runtime.deaf = True
    agent.put("a", "b")
    async with agent.running():
        await agent.until(lambda: agent.runtime.started == ["a"])
        agent.runtime.ready.clear()

        await agent.until(lambda: agent.pipeline.state is State.WAITING_FOR_RUNTIME)

        assert agent.runtime.started == ["a"]


async def test_a_fault_in_an_adapter_costs_one_task_an_attempt_and_nobody_else_anything() -> None:
    agent = Agent()
    agent.put("a", "b")
    async with agent.running():
        agent.runtime.end("a").set_exception(ZeroDivisionError("a fault"))

        await agent.until(lambda: agent.runtime.started == ["a", "b"])

        await agent.until(lambda: "a" in agent.completing.outcomes)
        outcome = agent.completing.outcomes["a"]
        assert isinstance(outcome, Raised)
        assert isinstance(outcome.error, TransientError)


async def test_a_start_that_cannot_be_written_ends_its_own_run_alone_and_nothing_is_made_of_it() -> None:
    agent = Agent()
    agent.completing.refuses_start_of = "a"
    agent.put("a", "b")
    async with agent.running():
        await agent.until(lambda: agent.runtime.started == ["a", "b"])

        assert agent.runtime.stopped == ["a"]
        await agent.until(lambda: [held.metadata.id for held in agent.holdings] == ["b"])
        assert "a" not in agent.completing.outcomes


async def test_at_shutdown_the_running_task_is_finished_and_the_waiting_one_goes_back_at_once() -> None:
    agent = Agent()
    agent.put("a", "b")
    async with agent.running() as task:
        await agent.until(lambda: agent.queue.received == ["a", "b"])

        agent.stop.set()

        await agent.until(lambda: agent.completing.outcomes.get("b") == HandedBack())
        assert agent.pipeline.state is State.DRAINING
        assert not task.done()
        agent.runtime.end("a").set_result(ANSWER)
        await agent.until(task.done)
        assert isinstance(agent.completing.outcomes["a"], Answered)


async def test_a_task_that_outlasts_the_grace_period_is_interrupted_and_goes_back() -> None:
    agent = Agent(grace_period=0.05)
    agent.put("a")
    async with agent.running() as task:
        await agent.until(lambda: agent.runtime.started == ["a"])

        agent.stop.set()

        await agent.until(task.done)
        assert agent.runtime.stopped == ["a"]
        assert agent.completing.outcomes["a"] == HandedBack()


async def test_after_short_runs_more_is_made_ready_and_a_long_run_lets_it_go_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.running.LOOKAHEAD", 0.1)
    agent = Agent(prefetch=1)
    agent.put("a", "b")
    async with agent.running():
        agent.runtime.end("a").set_result(ANSWER)
        await agent.until(lambda: agent.runtime.started == ["a", "b"])
        agent.put("c", "d", "e")

        await agent.until(lambda: set(agent.completing.outcomes) == {"a", "d", "e"})

        assert agent.completing.outcomes["d"] == agent.completing.outcomes["e"] == HandedBack()
        assert agent.runtime.started == ["a", "b"]
        assert [held.metadata.id for held in agent.holdings] == ["b", "c"]


async def test_an_idle_agent_drops_its_long_poll_and_ends() -> None:
    agent = Agent()
    async with agent.running() as task:
        await agent.until(lambda: agent.pipeline.state is State.READY)
        agent.stop.set()
        async with asyncio.timeout(30):
            await task


async def test_what_comes_by_an_open_poll_during_shutdown_goes_back() -> None:
    agent = Agent(prefetch=2)
    agent.put("a")
    async with agent.running() as task:
        await agent.until(lambda: agent.runtime.started == ["a"])
        agent.stop.set()
        await agent.until(lambda: agent.pipeline.state is State.DRAINING)

        agent.put("late")

        await agent.until(lambda: agent.completing.outcomes.get("late") == HandedBack())
        assert not task.done()


async def test_a_queue_out_of_reach_is_tried_again_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "backoff", lambda attempt: 0.0)
    agent = Agent()
    agent.queue.broken = True
    agent.put("a")
    async with agent.running():
        await agent.until(lambda: agent.pipeline.state is State.FAILED)
        assert agent.pipeline.reason == "TimeoutError"

        agent.queue.broken = False

        await agent.until(lambda: agent.runtime.started == ["a"])
        assert agent.pipeline.reason == ""

"""A cancel reaches what is held: a waiting task leaves the pipeline, a running one is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from agent import watch as watch_module
from agent.holdings import Delivery, Held, Holdings, Interruption, Stage
from agent.outcomes import Abandoned, Cancelled, Outcome, Settled
from agent.watch import RecordWatch
from contract.identifiers import TaskRef
from contract.record import Record, Status, Submission, Transition, end_unstarted, finish, request_cancel, start
from contract.store import RecordStore, Stored
from contract.task import TaskMessage, TaskType
from tests.support.waiting import eventually_async

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBMISSION = Submission(submission="s", runtime="r", tasktype=TaskType.TEXT_TO_IMAGE, prefix="p", submitted_at=NOW)
TASK = TaskMessage.model_validate(
    {"metadata": {"id": "t", "runtime": "r", "tasktype": "text-to-image", "prefix": "p"}, "content": {}}
)


class Store(RecordStore):
    """One record in memory."""

    def __init__(self) -> None:
        self.stored = Stored(Record(id="t", current=SUBMISSION), "0")
        self.broken = False
        self.reads = 0

    async def read(self, task: TaskRef, *, known: Stored | None = None, about: str = "") -> Stored | None:
        self.reads += 1
        if self.broken:
            raise TimeoutError
        return known if known is not None and known.etag == self.stored.etag else self.stored

    async def change(
        self,
        task: TaskRef,
        transition: Transition,
        *,
        known: Stored | None = None,
        expect_absent: bool = False,
        about: str = "",
    ) -> Stored:
        return self.write(transition)

    def write(self, transition: Transition) -> Stored:
        self.stored = Stored(transition(self.stored.record), str(int(self.stored.etag) + 1))
        return self.stored


class Watched:
    """One held task under watch."""

    def __init__(self, stage: Stage) -> None:
        self.store, self.holdings = Store(), Holdings()
        self.withdrawn: list[Outcome] = []
        held = self.holdings.add(Delivery("m", "receipt", "{}"))
        assert held is not None
        self.held: Held = held
        held.task, held.submission_id, held.stage = TASK, "s", stage
        held.interruption = asyncio.get_running_loop().create_future()
        if stage is Stage.RUNNING:
            held.holder, held.attempt = "me", 1
            self.store.write(lambda record: start(record, "s", holder="me", now=NOW))
        held.stored = self.store.stored
        self.watch = RecordWatch(self.store, self.holdings, withdraw=lambda _, outcome: self.withdrawn.append(outcome))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.watch.run())
        try:
            yield
        finally:
            task.cancel()

    async def until(self, check: Callable[[], object]) -> None:
        async def checked() -> object:
            return check()

        await eventually_async(checked)

    def interruption(self) -> Interruption | None:
        assert self.held.interruption is not None
        return self.held.interruption.result() if self.held.interruption.done() else None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "WATCH_INTERVAL", 0.02)
    monkeypatch.setattr(watch_module, "progress_interval", lambda _: 0.0)


@pytest.mark.parametrize("stage", [Stage.PREPARING, Stage.PREPARED])
async def test_a_waiting_task_that_was_cancelled_leaves_the_pipeline(stage: Stage) -> None:
    watched = Watched(stage)
    async with watched.watching():
        watched.store.write(lambda record: request_cancel(record, now=NOW))

        await watched.until(lambda: watched.withdrawn)

    assert watched.withdrawn[0] == Settled()


async def test_a_waiting_task_whose_dead_holder_was_to_be_cancelled_is_ended() -> None:
    watched = Watched(Stage.PREPARED)
    watched.held.stored = watched.store.write(lambda record: start(record, "s", holder="dead", now=NOW))
    watched.held.seen_attempts = 1
    async with watched.watching():
        watched.store.write(lambda record: request_cancel(record, now=NOW))

        await watched.until(lambda: watched.withdrawn)

    assert watched.withdrawn[0] == Cancelled()


async def test_a_waiting_task_that_another_agent_has_started_is_left_to_it() -> None:
    watched = Watched(Stage.PREPARED)
    async with watched.watching():
        watched.store.write(lambda record: start(record, "s", holder="another", now=NOW))

        await watched.until(lambda: watched.withdrawn)

    assert watched.withdrawn[0] == Abandoned()


async def test_a_running_task_that_was_cancelled_is_interrupted() -> None:
    watched = Watched(Stage.RUNNING)
    async with watched.watching():
        watched.store.write(lambda record: request_cancel(record, now=NOW))

        await watched.until(lambda: watched.interruption() is Interruption.CANCEL)


async def test_a_run_that_begins_as_it_is_looked_at_is_left_alone() -> None:
    watched = Watched(Stage.PREPARED)

    class BeginsOnceListed(Holdings):
        def __iter__(self) -> Iterator[Held]:
            asyncio.get_running_loop().call_soon(setattr, watched.held, "stage", Stage.RUNNING)
            return iter([watched.held])

    watched.watch = RecordWatch(watched.store, BeginsOnceListed(), withdraw=lambda *_: None)
    async with watched.watching():
        await watched.until(lambda: watched.store.reads)

    assert watched.interruption() is None, "its start is not in the record yet: nobody has overtaken it"


@pytest.mark.parametrize(
    "change",
    [
        lambda record: start(record, "s", holder="another", now=NOW),
        lambda record: end_unstarted(record, "s", status=Status.FAILED, now=NOW),
    ],
    ids=["started again", "ended"],
)
async def test_a_running_task_that_another_agent_holds_or_has_ended_is_interrupted(change: Transition) -> None:
    watched = Watched(Stage.RUNNING)
    async with watched.watching():
        watched.store.write(change)

        await watched.until(lambda: watched.interruption() is Interruption.OVERTAKEN)


async def test_progress_is_reported_and_a_cancel_is_seen_on_the_way() -> None:
    watched = Watched(Stage.RUNNING)
    async with watched.watching():
        watched.held.note_progress(0.25)
        await watched.until(lambda: watched.store.stored.record.current.progress == 0.25)
        assert watched.interruption() is None

        watched.store.write(lambda record: request_cancel(record, now=NOW))
        watched.held.note_progress(0.5)

        await watched.until(lambda: watched.interruption() is Interruption.CANCEL)


async def test_a_write_of_progress_that_is_answered_late_does_not_undo_the_end_of_the_task() -> None:
    watched = Watched(Stage.RUNNING)
    written, answer = asyncio.Event(), asyncio.Event()

    async def change(task: TaskRef, transition: Transition, **_: object) -> Stored:
        stored = watched.store.write(transition)
        written.set()
        await answer.wait()
        return stored

    watched.store.change = change  # type: ignore[method-assign]
    async with watched.watching():
        watched.held.note_progress(0.25)
        await written.wait()
        watched.held.stage = Stage.FINISHING
        ended = watched.store.write(
            lambda record: finish(record, "s", holder="me", attempt=1, status=Status.SUCCEEDED, now=NOW)
        )
        watched.held.keep(ended)

        answer.set()

        await watched.until(lambda: watched.held.reported_progress == 0.25)
    assert watched.held.stored is ended


async def test_between_two_writes_of_progress_the_record_is_only_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    ages: list[float] = []

    def interval(age: float) -> float:
        ages.append(age)
        return 1000.0 if age else 0.0

    monkeypatch.setattr(watch_module, "progress_interval", interval)
    watched = Watched(Stage.RUNNING)
    async with watched.watching():
        watched.held.note_progress(0.25)
        await watched.until(lambda: watched.store.stored.record.current.progress == 0.25)
        watched.held.note_progress(0.5)
        looks = watched.store.reads
        await watched.until(lambda: watched.store.reads >= looks + 3)
        assert watched.store.stored.record.current.progress == 0.25
        watched.store.write(lambda record: request_cancel(record, now=NOW))

        await watched.until(lambda: watched.interruption() is Interruption.CANCEL)

    assert ages[0] == 0.0, "a run's first interval is that of a run that begins"
    assert len(ages) == 2, "it is asked again after each write only"


async def test_a_record_out_of_reach_interrupts_nothing() -> None:
    watched = Watched(Stage.RUNNING)
    watched.store.broken = True
    async with watched.watching():
        await watched.until(lambda: watched.store.reads >= 3)
        assert watched.interruption() is None

        watched.store.broken = False
        watched.store.write(lambda record: request_cancel(record, now=NOW))

        await watched.until(lambda: watched.interruption() is Interruption.CANCEL)


@pytest.mark.parametrize("stage", [Stage.PREPARED, Stage.RUNNING])
async def test_a_record_that_was_lost_and_made_anew_for_another_submission_is_not_taken_for_this_ones(
    stage: Stage,
) -> None:
    watched = Watched(stage)
    async with watched.watching():
        watched.store.write(lambda _: Record(id="t", current=SUBMISSION.model_copy(update={"submission": "another"})))
        looks = watched.store.reads

        await watched.until(lambda: watched.store.reads >= looks + 3)

    assert watched.held.submission.submission == "s"
    assert watched.withdrawn == []


async def test_a_task_that_is_being_completed_is_not_watched() -> None:
    watched = Watched(Stage.FINISHING)
    async with watched.watching():
        await asyncio.sleep(0.1)

    assert watched.store.reads == 0

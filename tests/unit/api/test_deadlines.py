"""What was to begin by some time and has not, ends without an agent; what runs goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.callbacks import Callbacks
from api.deadlines import parse_start_by, reason_to_refuse, resolve
from api.errors import InvalidRequestError
from api.metrics import Metrics
from api.sweeps import deadlines as sweeps
from api.sweeps.deadlines import LONGEST_RUN, NOT_WRITTEN, OFTEN, SELDOM, Deadlines, Fate, fate
from contract.identifiers import TaskRef
from contract.objects import DEADLINES, Deadline
from contract.record import Failure, Record, Status, Submission, excuse, let_go, start, submit
from contract.store import RecordStore
from contract.task import TaskType
from contract.task_lists import TaskLists
from contract.topology import EXPIRY
from tests.unit.promise.actors import ApiProcess, request
from tests.unit.promise.cloud import BUCKET, CALLBACKS, Client, Cloud, Process

SECOND: Final = timedelta(seconds=1)
TASK: Final = TaskRef("t", "alice")
NAME: Final = "01JDX0000000000000000000AA"

# What may be asked for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -1, EXPIRY + 1, float("inf"), float("nan"), True, "30", "soon", [], "2026-12-01"])
def test_what_is_no_time_and_no_seconds_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"2026-12-01T08:30:00Z"):
        parse_start_by(value)


def test_seconds_count_from_the_submission_and_times_are_kept_in_utc() -> None:
    at = datetime(2026, 12, 1, 8, 30, tzinfo=UTC)
    assert resolve(parse_start_by(1.5), at) == at + 1.5 * SECOND
    assert resolve(parse_start_by("2026-12-01T09:30:00.123456+01:00"), at) == at + timedelta(milliseconds=123)
    assert resolve(parse_start_by(None), at) is None


def test_a_time_that_has_passed_or_is_too_far_away_is_refused_in_words() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert reason_to_refuse(now + SECOND, now) is None
    assert "has passed" in str(reason_to_refuse(now, now))
    assert "keeps no task" in str(reason_to_refuse(datetime.fromisoformat("9999-12-31T23:59:59-23:59"), now))


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["", "alice"]), st.text("ab.-_", min_size=1))
def test_a_mark_is_read_as_it_was_written(at: datetime, tenant: str, task_id: str) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    if at.year >= 1000:  # strftime pads no years
        deadline = Deadline(at, TaskRef(task_id, tenant), NAME)
        assert Deadline.read(deadline.key) == deadline


@pytest.mark.parametrize(
    "key", ["", "x", f"20261201T083000.000Z/{NAME}", f"soon/{NAME}/t", f"20261201T083000.000Z/{NAME}/a/b/c"]
)
def test_what_is_no_mark_is_none(key: str) -> None:
    assert Deadline.read(DEADLINES + key) is None


async def test_a_repeated_request_is_answered_as_at_first_though_its_time_has_passed() -> None:
    cloud, api = Cloud(), ApiProcess("api")
    cloud.network.calm = True
    await api.run(cloud)
    try:
        wanted = replace(request("t", 1, large=False), start_by=datetime.now(UTC) + timedelta(seconds=0.2))
        first = await api.submit(wanted, "k")
        await asyncio.sleep(0.25)
        assert (await api.submit(wanted, "k")).ticket == first.ticket
        for key in ("another", None):
            with pytest.raises(InvalidRequestError, match="has passed"):
                await api.submit(wanted, key)
    finally:
        api.kill()


# What becomes of a mark ---------------------------------------------------------------------------------------------


def queued(start_by: datetime | None) -> Submission:
    now = datetime.now(UTC)
    return Submission(
        submission=NAME,
        runtime="r",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="p",
        submitted_at=now - timedelta(hours=1),
        start_by=start_by,
    )


@given(
    st.sampled_from(Status),
    st.none() | st.integers(-200_000, 100),
    st.none() | st.just("agent"),
    st.integers(0, 200_000),
)
def test_only_what_waits_beyond_its_time_ends(
    status: Status, seconds: int | None, holder: str | None, running: int
) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    start_by = None if seconds is None else now + seconds * SECOND
    submission = queued(start_by).model_copy(
        update={"status": status, "holder": holder, "started_at": now - running * SECOND}
    )

    found = fate(submission, now, now)

    if found is Fate.END:
        assert not status.terminal
        assert start_by is not None
        assert start_by <= now
        assert holder is None or running * SECOND >= LONGEST_RUN
    elif isinstance(found, datetime):
        assert now < found <= now + max(SELDOM, 100 * SECOND)
        assert not status.terminal
    else:
        assert status.terminal or start_by is None


@given(st.integers(0, 200_000), st.integers(0, 59))
def test_processes_that_look_at_about_the_same_time_leave_one_mark(minutes: int, seconds: int) -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    now = at + minutes * OFTEN
    running = queued(at).model_copy(update={"status": Status.RUNNING, "holder": "agent", "started_at": now})
    assert fate(running, at, now) == fate(running, at, now + seconds * SECOND)


def test_a_mark_whose_record_is_not_there_yet_waits_for_it_and_not_for_ever() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert fate(None, now, now) == now + OFTEN
    assert fate(None, now, now + NOT_WRITTEN) is Fate.FORGET


# The sweep ----------------------------------------------------------------------------------------------------------


class Place:
    """A bucket, a topic, and a process that looks."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.cloud.network.calm = True
        self.client: Any = Client(self.cloud, Process("api"))
        self.store = RecordStore(self.client, BUCKET)
        self.deadlines = self.process()

    def process(self, interval: float = 300) -> Deadlines:
        lists = TaskLists(self.client, BUCKET)
        callbacks = Callbacks(sns=self.client, topic_arn=CALLBACKS, store=self.store, lists=lists, bucket=BUCKET)
        return Deadlines(
            s3=self.client,
            bucket=BUCKET,
            store=self.store,
            callbacks=callbacks,
            metrics=Metrics(),
            interval=interval,
        )

    async def submitted(self, start_by: datetime, *changes: Callable[[Record], Record]) -> Deadline:
        new = queued(start_by)
        await self.store.change(TASK, lambda record: submit(record, TASK, new))
        for change in changes:
            await self.store.change(TASK, lambda record, change=change: change(record))  # type: ignore[misc]
        deadline = Deadline(start_by, TASK, NAME)
        await self.deadlines.mark(deadline)
        return deadline

    async def found(self) -> Submission:
        stored = await self.store.read(TASK)
        assert stored is not None
        return stored.record.current

    def marks(self) -> list[Deadline]:
        found = [Deadline.read(key) for key in sorted(self.cloud.objects) if key.startswith(DEADLINES)]
        return [mark for mark in found if mark is not None]


def past(seconds: float = 1) -> datetime:
    return resolve(datetime.now(UTC) - seconds * SECOND, datetime.now(UTC)) or datetime.now(UTC)


async def test_a_task_that_waits_beyond_its_time_expires_with_one_callback() -> None:
    place = Place()
    deadline = await place.submitted(past())
    await place.deadlines.sweep()
    await place.deadlines.mark(deadline)  # its acceptance was repeated
    await place.deadlines.sweep()
    found = await place.found()
    assert (found.status, found.attempts, found.callback_sent) == (Status.EXPIRED, 0, True)
    assert found.error == Failure(
        code="expired", message=f"no agent had begun it by {deadline.at.isoformat(timespec='milliseconds')}"
    )
    assert [(name, body["result"]) for name, body in place.cloud.callbacks] == [(NAME, False)]
    assert place.marks() == []


async def test_a_run_goes_on_beyond_its_time_and_is_looked_at_again() -> None:
    place = Place()
    at = past()
    deadline = await place.submitted(at, lambda record: start(record, NAME, holder="a", now=at - SECOND))
    await place.deadlines.sweep()
    assert (await place.found()).status is Status.RUNNING
    (mark,) = place.marks()
    assert mark.at >= deadline.at + OFTEN


@pytest.mark.parametrize("gave_up", [excuse, let_go])
async def test_a_task_that_waits_for_its_next_attempt_expires(gave_up: Any) -> None:
    place = Place()
    at = past()
    await place.submitted(
        at,
        lambda record: start(record, NAME, holder="a", now=at - SECOND),
        lambda record: gave_up(record, NAME, holder="a", attempt=1),
    )
    await place.deadlines.sweep()
    found = await place.found()
    assert (found.status, found.attempts) == (Status.EXPIRED, 1)


async def test_a_callback_that_cannot_go_out_keeps_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    await place.submitted(past())
    monkeypatch.setattr(place.cloud, "_publish", _refuse)
    assert await place.deadlines.sweep() <= 10
    assert (await place.found()).status is Status.EXPIRED
    assert len(place.marks()) == 1
    monkeypatch.undo()
    await place.deadlines.sweep()
    assert (await place.found()).callback_sent
    assert place.marks() == []


async def test_a_full_look_of_which_nothing_can_be_done_is_not_repeated_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeps, "_AT_ONCE", 1)
    place = Place()
    await place.submitted(past())
    with monkeypatch.context() as broken:
        broken.setattr(place.cloud, "_publish", _refuse)
        assert await place.deadlines.sweep() > 5
    assert await place.deadlines.sweep() == 0


def _refuse(**_: Any) -> Any:
    raise TimeoutError


async def test_another_process_leaves_a_task_for_some_seconds_to_the_one_that_has_accepted_it() -> None:
    place = Place()
    await place.submitted(past(1))
    other = place.process()
    assert await other.sweep() < 15
    assert (await place.found()).status is Status.QUEUED


async def test_another_process_ends_a_task_whose_process_is_gone() -> None:
    place = Place()
    await place.submitted(past(20))
    await place.process().sweep()
    assert (await place.found()).status is Status.EXPIRED


async def test_a_process_looks_as_soon_as_a_task_of_its_own_is_due() -> None:
    place = Place()
    waiting = asyncio.create_task(place.deadlines.wait(300))
    await asyncio.sleep(0)
    await place.submitted(datetime.now(UTC) + timedelta(seconds=0.05))
    async with asyncio.timeout(5):
        await waiting
    assert await place.deadlines.sweep() > 200
    assert (await place.found()).status is Status.EXPIRED


async def test_nothing_is_asked_of_aws_but_one_listing_where_no_task_has_a_time() -> None:
    place = Place()
    assert 299 < await place.deadlines.sweep() <= 300

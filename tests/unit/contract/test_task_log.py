"""The lists of tasks: whatever processes die and calls are lost, what was added is there, once, and in order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract import task_log
from contract.identifiers import TaskRef
from contract.objects import list_key
from contract.record import Failure, Record, Status, Submission, end_unstarted
from contract.task import TaskType
from contract.task_lists import TaskLists
from contract.task_log import (
    SUBMITTED,
    UNSUCCESSFUL,
    Entry,
    Segment,
    TaskLog,
    added,
    ended_line,
    moment,
    parse_segment,
    submitted_line,
)
from tests.support.waiting import until
from tests.unit.promise.cloud import BUCKET, Cloud, Fate, Process

AT = datetime(2026, 1, 1, tzinfo=UTC)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - as Hypothesis wants them


def line(number: int, *, task_id: str = "x") -> bytes:
    at = AT + timedelta(seconds=number)
    return submitted_line(TaskRef(task_id), f"s{number}", runtime="r", tasktype="t", at=at)


def submission(**more: Any) -> Submission:
    return Submission(submission="s", runtime="r", tasktype=TaskType.PIPELINE, prefix="p", submitted_at=AT, **more)


@given(st.lists(TIMES, max_size=20))
def test_texts_of_times_sort_as_the_times_do(times: list[datetime]) -> None:
    assert sorted(map(moment, times)) == [moment(time) for time in sorted(times)]


def test_times_are_written_in_utc() -> None:
    assert moment(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000000Z"


@given(st.text(min_size=1, max_size=40))
def test_a_line_says_what_it_was_made_of_and_is_one_line(task_id: str) -> None:
    task = TaskRef(task_id.encode("utf-8", "replace").decode())
    segment = Segment(7, [submitted_line(task, "s", runtime="r", tasktype="t", at=AT)])

    read = parse_segment(segment.encode())

    assert read == segment
    assert read.entries() == [Entry("2026-01-01T00:00:00.000000Z", "s", task.id, "r", "t")]


def test_a_line_of_an_end_sorts_by_that_and_says_when_it_was_submitted() -> None:
    record = Record(id="x", current=submission())
    later = AT + timedelta(hours=1)
    error = Failure(code="c", message="m")
    ended = end_unstarted(record, "s", status=Status.FAILED, now=later, error=error).current

    [entry] = Segment(0, [ended_line(TaskRef("x"), ended)]).entries()

    assert (entry.at, entry.submitted, entry.status) == (moment(later), moment(AT), "failed")


def test_what_a_newer_version_adds_to_a_line_is_passed_over() -> None:
    document = b'{"seq":0,"more":1}\n["2026","s","x","r","t","","",true]\n'
    assert parse_segment(document).entries() == [Entry("2026", "s", "x", "r", "t")]


@given(st.lists(st.integers(0, 30), unique=True, max_size=20), st.sets(st.integers(0, 60), min_size=1))
def test_a_head_stays_in_order_until_it_is_full(there: list[int], new: set[int]) -> None:
    head = Segment(3, [line(number) for number in sorted(there)])
    lines = {line(number) for number in new - set(there)} or {line(100)}

    following = added(head, lines)

    assert following == Segment(3, sorted({*head.lines, *lines}))
    full = Segment(3, [line(number) for number in range(task_log.FULL)])
    assert added(full, lines) == Segment(4, sorted(lines))


async def everything(cloud: Cloud, tenant: str = "", name: str = SUBMITTED) -> list[bytes]:
    """Returns all lines of a log, the oldest first."""
    log = TaskLog(cloud.client(Process("reader")), BUCKET, tenant, name)
    head = await log.head()
    sealed = [await log.segment(seq) for seq in range(head.seq)]
    lines: list[bytes] = []
    for segment in (*sealed, head):
        assert segment is not None
        assert segment.lines == sorted(segment.lines)
        lines += segment.lines
    return lines


@settings(max_examples=150)
@given(st.data())
def test_what_was_added_is_there_once_whatever_dies_or_is_lost(data: st.DataObject) -> None:
    with mock.patch.object(task_log, "FULL", 3), mock.patch.object(task_log, "_LONGEST_PAUSE", 0):
        asyncio.run(_writers_contend(data))


async def _writers_contend(data: st.DataObject) -> None:
    cloud = Cloud()
    returned: list[bytes] = []

    async def write(process: Process, log: TaskLog, batches: list[list[bytes]]) -> None:
        for batch in batches:
            while True:
                try:
                    await log.add(batch)
                except Exception:  # noqa: BLE001 - as the process that adds: it tries again
                    continue
                returned.extend(batch)
                break

    numbers = iter(range(1000))
    writers: dict[str, Process] = {}
    for name in data.draw(st.sampled_from(["a", "ab", "abc"])):
        process = writers[name] = Process(name)
        log = TaskLog(cloud.client(process), BUCKET, "", SUBMITTED)
        sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
        batches = [[line(next(numbers)) for _ in range(size)] for size in sizes]
        process.tasks.append(asyncio.create_task(write(process, log, batches)))
    for _ in range(200):
        await _settle()
        if not cloud.network.calls:
            break
        call = data.draw(st.sampled_from(cloud.network.calls))
        kind = data.draw(st.sampled_from([Fate.DONE, Fate.DONE, Fate.DONE, Fate.LOST, Fate.REFUSED, "kill"]))
        if kind == "kill":
            if len([process for process in writers.values() if not process.dead]) > 1:
                call.process.kill()
            kind = Fate.DONE  # what was sent arrives all the same
        cloud.network.let(call, Fate(kind))
    cloud.network.calm = True
    while cloud.network.calls:
        cloud.network.let(cloud.network.calls[0], Fate.DONE)
        await _settle()
    await asyncio.gather(*(task for process in writers.values() for task in process.tasks), return_exceptions=True)

    lines = await everything(cloud)
    assert len(lines) == len(set(lines))
    assert set(returned) <= set(lines)
    assert all(returned.count(item) == 1 for item in returned)


async def _settle() -> None:
    """Lets everybody go on who can."""
    for _ in range(12):
        await asyncio.sleep(0)


async def test_what_waits_at_the_same_moment_goes_out_together() -> None:
    cloud = Cloud()
    lists = TaskLists(cloud.client(Process("api")), BUCKET)

    waits = [_submitted(lists, number, "") for number in range(20)]
    waits += [_submitted(lists, number, "alice") for number in range(20, 25)]
    await _settle()
    reads = [call.name for call in cloud.network.calls]
    cloud.network.calm = True
    for call in list(cloud.network.calls):
        cloud.network.let(call, Fate.DONE)
    for wait in waits:
        await wait()

    assert reads == ["get_object", "get_object"]  # a head for each of the two tenants
    assert [len(await everything(cloud, tenant)) for tenant in ("", "alice")] == [20, 5]
    assert len(cloud.objects) == 2


async def test_a_list_that_cannot_be_written_keeps_nobody_waiting_and_is_written_later() -> None:
    cloud = Cloud()
    lists = TaskLists(cloud.client(Process("api")), BUCKET)
    cloud.network.out_of_reach = {"put_object", "get_object"}
    with (
        mock.patch("contract.task_lists.WAIT_SECONDS", 0.02),
        mock.patch("contract.task_lists._FIRST_PAUSE", 0.01),
    ):
        wait = _submitted(lists, 1, "")
        waiting = asyncio.create_task(wait())
        await _settle()
        cloud.network.let(cloud.network.calls[0], Fate.REFUSED)
        await asyncio.wait_for(waiting, 1)
        assert not cloud.objects
        cloud.network.calm = True
        await asyncio.wait_for(_submitted(lists, 2, "")(), 1)
        await until(lambda: cloud.objects)

    assert await everything(cloud) == [line(1), line(2)]


def _submitted(lists: TaskLists, number: int, tenant: str) -> Any:
    at = AT + timedelta(seconds=number)
    return lists.submitted(TaskRef("x", tenant), f"s{number}", runtime="r", tasktype="t", at=at)


@pytest.mark.parametrize("tenant", ["", SUBMITTED, UNSUCCESSFUL, "alice"])
def test_no_two_logs_share_a_key(tenant: str) -> None:
    keys = {list_key(of, log, seq) for of in {"", tenant} for log in (SUBMITTED, UNSUCCESSFUL) for seq in (None, 0, 1)}
    assert len(keys) == 6 * len({"", tenant})

"""What an agent tells of itself: soon when something changes, and seldom all in all."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.holdings import Delivery, Held, Holdings, Stage
from agent.operations import presence as presence_module
from agent.operations.lifecycle import Lifecycle, State
from agent.operations.metrics import Metrics
from agent.operations.presence import BEAT, GpuTime, Pace, Presence
from agent.operations.recycling import Limits, RecycleBy, Recycling
from contract.task import Metadata, TaskMessage, TaskType
from tests.support.waiting import until

INTERVAL = 15.0


@pytest.mark.parametrize(("changes", "least", "most"), [(True, 240, 243), (False, 60, 62)])
def test_an_hour_costs_a_bounded_number_of_writes(*, changes: bool, least: int, most: int) -> None:
    pace, writes = Pace(INTERVAL), 0
    for second in range(3600):
        if pace.due(second, changed=changes):
            pace.wrote(second)
            writes += 1

    assert least <= writes <= most


def test_a_change_is_told_at_once_after_a_quiet_time() -> None:
    pace = Pace(INTERVAL)
    assert pace.due(0, changed=True)
    pace.wrote(0)

    assert not pace.due(59, changed=False)
    assert pace.due(59, changed=True)
    pace.wrote(59)
    assert pace.due(60, changed=True)


@given(st.lists(st.tuples(st.floats(0.5, 30), st.booleans()), max_size=200))
def test_what_has_changed_is_told_within_an_interval_and_all_is_told_within_four(
    looks: list[tuple[float, bool]],
) -> None:
    pace, now, written, waiting = Pace(INTERVAL), 0.0, 0.0, None
    pace.due(now, changed=True)
    pace.wrote(now)
    for seconds, changed in looks:
        now += seconds
        waiting = waiting if waiting is not None else now if changed else None
        if pace.due(now, changed=waiting is not None):
            pace.wrote(now)
            written, waiting = now, None
        assert waiting is None or now - waiting <= INTERVAL + 30
        assert now - written <= BEAT * INTERVAL + 30


def test_points_are_a_minute_apart_and_an_hour_long() -> None:
    now = 1000.0
    metrics = Metrics("sdruntime")
    gpu = GpuTime(metrics, lambda: now)
    for _ in range(3 * 3600):
        now += 1
        gpu.look()

    points = gpu.points()

    assert 61 <= len(points) <= 62
    assert points[-1].at - points[0].at >= 3600
    assert len(json.dumps(points)) < 3000


class Bucket:
    """S3 as far as notes need it."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []
        self.refuses = False

    async def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, Any]:  # noqa: N803
        if self.refuses:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
        self.notes.append({"key": Key, **json.loads(Body)})
        return {"ETag": "x"}


class Pipeline:
    reason = ""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "_LOOK", 0.001)


def make(bucket: Bucket, holdings: Holdings, lifecycle: Lifecycle, recycling: Recycling | None = None) -> Presence:
    return Presence(
        bucket,  # type: ignore[arg-type]  # as much of it as is used
        "darkroom-output",
        runtime="sdruntime",
        interval=0.01,
        host="pod-1",
        version="1.2.3",
        slots=1,
        lifecycle=lifecycle,
        pipeline=Pipeline(),
        recycling=recycling or Recycling(RecycleBy.NOBODY, Limits(), no_memory),
        holdings=holdings,
        metrics=Metrics("sdruntime"),
    )


async def no_memory() -> None:
    return None


def running(holdings: Holdings, task_id: str, tenant: str = "") -> Held:
    held = holdings.add(Delivery(message_id=task_id, receipt_handle="r", body=""))
    assert held is not None
    metadata = Metadata(
        id=task_id, runtime="sdruntime", tasktype=TaskType.TEXT_TO_IMAGE, prefix="output", context={}, tenant=tenant
    )
    held.task = TaskMessage(metadata=metadata, content={})
    held.stage = Stage.RUNNING
    return held


@pytest.mark.usefixtures("quick")
async def test_it_tells_its_state_and_what_it_runs_and_at_last_that_it_has_ended() -> None:
    bucket, holdings, lifecycle = Bucket(), Holdings(), Lifecycle()
    presence = make(bucket, holdings, lifecycle)
    loop = asyncio.create_task(presence.run())
    await until(lambda: bucket.notes)
    assert bucket.notes[0]["state"] == "starting"

    running(holdings, "one", "alice")
    lifecycle.enter(State.BUSY)
    await until(lambda: bucket.notes[-1]["state"] == "busy")
    loop.cancel()
    await presence.end()

    last, end = bucket.notes[-2:]
    assert last["running"] == [{"id": "one", "tenant": "alice"}]
    assert (last["host"], last["version"], last["held"]) == ("pod-1", "1.2.3", 1)
    assert (end["state"], end["running"]) == ("ended", [])
    assert {note["key"] for note in bucket.notes} == {f".agents/sdruntime/{last['agent']}.json"}


@pytest.mark.usefixtures("quick")
async def test_a_restart_that_it_wished_for_is_told_as_one() -> None:
    bucket, lifecycle = Bucket(), Lifecycle()
    recycling = Recycling(RecycleBy.API, Limits(), no_memory)
    loop = asyncio.create_task(make(bucket, Holdings(), lifecycle, recycling).run())
    lifecycle.enter(State.WAITING_FOR_RUNTIME)
    await until(lambda: bucket.notes and bucket.notes[-1]["state"] == "waiting-for-runtime")

    recycling.want("it has run 10 tasks")

    await until(lambda: bucket.notes[-1]["state"] == "recycling")
    loop.cancel()


@pytest.mark.usefixtures("quick")
async def test_a_bucket_that_refuses_is_said_once_and_tried_again() -> None:
    bucket = Bucket()
    bucket.refuses = True
    presence = make(bucket, Holdings(), Lifecycle())
    with capture_logs() as logs:
        loop = asyncio.create_task(presence.run())
        await until(lambda: len(logs) > 3)
        await presence.end()  # nobody knows of it: nothing is written
        bucket.refuses = False
        await until(lambda: bucket.notes)
        loop.cancel()

    assert [line["log_level"] for line in logs].count("warning") == 1
    assert bucket.notes[0]["state"] == "starting"

"""Leaves a note about this agent in the output bucket, where the API finds it; see `contract.agents`.

Nothing waits for it, and a task needs none of it. It looks every second whether something has changed, which asks
nobody; a write is a PUT of one or two kilobytes. An idle agent writes once in `BEAT` intervals.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog

from agent.aws import CALL_TIMEOUT, describe
from agent.holdings import Holdings, Stage
from agent.operations.lifecycle import Lifecycle, State
from agent.operations.metrics import Metrics
from agent.operations.recycling import Recycling
from contract.agents import ENDED, HOUR, POINT_SECONDS, AgentNote, Point, RunningTask
from contract.identifiers import new_ulid
from contract.objects import agent_key
from contract.outages import OUTAGES
from contract.s3 import S3

BEAT: Final = 4
"""Intervals between two writes while nothing changes."""

RECYCLING: Final = "recycling"
"""Said instead of `waiting-for-runtime` when the restart of the runtime was this agent's own wish."""

_LIFETIME: Final = 2.5 * BEAT
"""Intervals: one write may fail."""
_AT_ONCE: Final = 3
"""Changes that are written one after the other, if there were none for long: an agent's start is several."""
_LOOK: Final = 1.0
_LAST_SECONDS: Final = 1.0
"""That the end of the agent waits for its last write."""
_LONGEST_REASON: Final = 300

log = structlog.get_logger()


class Pipeline(Protocol):
    """As much of the pipeline as is told."""

    @property
    def reason(self) -> str:
        """Why it is not ready."""


class Pace:
    """Decides when to write: a change at once, but in the long run one write in an interval.

    Args:
        interval: seconds.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._allowed = float(_AT_ONCE)
        self._counted_at: float | None = None
        self._written_at: float | None = None

    def due(self, now: float, *, changed: bool) -> bool:
        """Tells whether to write now.

        Args:
            now: monotonic seconds.
            changed: since what was written last.
        """
        if self._counted_at is not None:
            self._allowed = min(_AT_ONCE, self._allowed + (now - self._counted_at) / self._interval)
        self._counted_at = now
        if changed or self._written_at is None:
            return self._allowed >= 1
        return now - self._written_at >= BEAT * self._interval

    def wrote(self, now: float) -> None:
        """Says that a write was tried."""
        self._allowed = max(0.0, self._allowed - 1)
        self._written_at = now


class GpuTime:
    """The points of the last hour.

    Args:
        metrics: count the seconds.
        clock: Unix seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._clock = clock
        self._points: deque[Point] = deque([self._now()])

    def look(self) -> None:
        """Keeps a point when the last one is a minute old."""
        if self._clock() - self._points[-1].at >= POINT_SECONDS:
            self._points.append(self._now())
            # One before the hour begins is needed to tell of its first minute.
            while len(self._points) > 1 and self._points[-1].at - self._points[1].at > HOUR.total_seconds():
                self._points.popleft()

    def points(self) -> tuple[Point, ...]:
        """Returns them, and one of now."""
        now = self._now()
        return (*self._points, now) if now.at > self._points[-1].at else tuple(self._points)

    def _now(self) -> Point:
        busy, idle = self._metrics.gpu_seconds()
        return Point(round(self._clock(), 1), round(busy, 2), round(idle, 2))


class Presence:
    """Tells that this agent is there and what it does.

    Args:
        s3: where to.
        bucket: the output bucket.
        runtime: the runtime's name.
        interval: seconds between two writes in the long run.
        host: where it runs; empty: this machine's name.
        version: of its image.
        slots: runs at once.
        lifecycle: the state.
        pipeline: says why it is not ready.
        recycling: says why its runtime is to be restarted.
        holdings: what it holds.
        metrics: count the GPU's time.
        environment: tells the hash of the runtime's environment; empty: not known.
    """

    def __init__(
        self,
        s3: S3,
        bucket: str,
        *,
        runtime: str,
        interval: float,
        host: str,
        version: str,
        slots: int,
        lifecycle: Lifecycle,
        pipeline: Pipeline,
        recycling: Recycling,
        holdings: Holdings,
        metrics: Metrics,
        environment: Callable[[], str] = str,
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._agent = new_ulid()
        self._key = agent_key(runtime, self._agent)
        self._interval = interval
        self._host = host or socket.gethostname()
        self._version = version
        self._environment = environment
        self._slots = slots
        self._lifecycle = lifecycle
        self._pipeline = pipeline
        self._recycling = recycling
        self._holdings = holdings
        self._gpu = GpuTime(metrics)
        self._pace = Pace(interval)
        self._started_at = datetime.now(UTC)
        self._told: object = None
        self._is_there = False
        self._fails = False

    async def run(self) -> None:
        """Writes until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            self._gpu.look()
            state, running = self._state(), self._running()
            if self._pace.due(time.monotonic(), changed=(state, running) != self._told):
                self._pace.wrote(time.monotonic())
                if await self._write(state, running, within=CALL_TIMEOUT):
                    self._told = (state, running)

    async def end(self) -> None:
        """Writes that the agent has ended, if anybody was told that it is there."""
        if self._is_there:
            await self._write(ENDED, (), within=_LAST_SECONDS)

    async def _write(self, state: str, running: tuple[RunningTask, ...], *, within: float) -> bool:
        ended = state == ENDED
        note = AgentNote(
            agent=self._agent,
            host=self._host,
            version=self._version,
            environment=self._environment(),
            state=state,
            reason="" if ended else self._pipeline.reason[:_LONGEST_REASON],
            since=datetime.now(UTC) if ended else self._lifecycle.since,
            started_at=self._started_at,
            written_at=datetime.now(UTC),
            lifetime_seconds=_LIFETIME * self._interval,
            slots=self._slots,
            held=len(self._holdings),
            running=running,
            points=self._gpu.points(),
        )
        try:
            async with asyncio.timeout(within):
                await self._s3.put_object(
                    Bucket=self._bucket,
                    Key=self._key,
                    Body=note.model_dump_json().encode(),
                    ContentType="application/json",
                )
        except OUTAGES as error:
            say = log.debug if self._fails else log.warning
            say("the API cannot be told of this agent", error=describe(error))
            self._fails = True
            return False
        self._is_there, self._fails = True, False
        return True

    def _state(self) -> str:
        state = self._lifecycle.state
        return RECYCLING if state is State.WAITING_FOR_RUNTIME and self._recycling.reason else state.value

    def _running(self) -> tuple[RunningTask, ...]:
        return tuple(
            RunningTask(id=held.metadata.id, tenant=held.metadata.tenant)
            for held in self._holdings
            if held.stage is Stage.RUNNING
        )

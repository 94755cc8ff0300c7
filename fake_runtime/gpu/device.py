"""The GPU: the model it holds, the job it runs, the time it was busy, and what it did before."""

import asyncio
import os
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Literal

import structlog

from fake_runtime.faults import FaultName, Struck
from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel

Outcome = Literal["running", "succeeded", "failed", "interrupted", "out-of-memory"]
JOBS_REMEMBERED = 10_000

log = structlog.get_logger(__name__)


def leave_at_once(status: int) -> None:
    """Ends the process as a crash does: nothing is flushed, closed or answered."""
    os._exit(status)


class JobInterruptedError(Exception):
    """The running job was interrupted."""


@dataclass(slots=True)
class JobRecord:
    """One thing the GPU was asked to do; times are seconds since the epoch."""

    id: str
    kind: str
    prompt: str
    started: float
    cached: bool = False
    finished: float | None = None
    duration: float | None = None
    outcome: Outcome = "running"
    images: int = 0
    faults: list[str] = field(default_factory=list)


class Job:
    """The job that has the GPU now."""

    def __init__(self, record: JobRecord, faults: Struck, leave: Callable[[int], None]) -> None:
        self.record = record
        self.faults = faults
        self._interrupt = asyncio.Event()
        self._leave = leave

    @property
    def interrupted(self) -> bool:
        """Whether somebody asked it to stop, and it listened."""
        return self._interrupt.is_set()

    def interrupt(self) -> None:
        """Asks it to stop at its next step; without effect under ``interrupt-ignored``."""
        if FaultName.INTERRUPT_IGNORED not in self.faults:
            self._interrupt.set()

    def check(self) -> None:
        """Raises if it was interrupted.

        Raises:
            JobInterruptedError: it was.
        """
        if self.interrupted:
            raise JobInterruptedError

    def resume(self) -> None:
        """Forgets an interrupt: SD Web UI's 'skip' ends one batch only."""
        self._interrupt.clear()

    async def spend(self, seconds: float) -> bool:
        """Lets time pass; returns False, early, when interrupted."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return not self.interrupted
        try:
            async with asyncio.timeout(seconds):
                await self._interrupt.wait()
        except TimeoutError:
            return not self.interrupted
        return False

    async def steps(
        self, count: int, seconds_each: float, on_step: Callable[[int], Awaitable[None]] | None = None
    ) -> bool:
        """Runs sampling steps, and in the middle of them the faults that belong there.

        Args:
            count: how many steps.
            seconds_each: seconds of one.
            on_step: told after each how many are done.

        Returns:
            False if it was interrupted.
        """
        middle = count // 2
        begin = time.monotonic()
        for done in range(count + 1):
            if done == middle:
                struck = time.monotonic()
                await self.strike()
                begin += time.monotonic() - struck
            if self.interrupted:
                return False
            if done == count:
                break
            # Against the clock, so that the cost of telling about steps does not add up.
            if not await self.spend(begin + (done + 1) * seconds_each - time.monotonic()):
                return False
            if on_step is not None:
                await on_step(done + 1)
        return True

    async def strike(self) -> None:
        """Suffers the faults that hit a job in its middle: exit, hang; each once."""
        if (crash := self.faults.pop(FaultName.EXIT_IN_THE_MIDDLE, None)) is not None:
            log.error("fault: leaving in the middle of a job", job=self.record.id)
            self._leave(1 if crash.status is None else crash.status)
        if (hang := self.faults.pop(FaultName.HANG, None)) is not None:
            log.warning("fault: hanging", job=self.record.id, seconds=hang.seconds)
            if hang.seconds is None:
                await self._interrupt.wait()
            else:
                await self.spend(hang.seconds)


class Gpu:
    """One card. It runs one job at a time; who waits, waits in order of arrival."""

    def __init__(
        self,
        latency: LatencyModel,
        total_bytes: int,
        *,
        leave: Callable[[int], None] = leave_at_once,
    ) -> None:
        self.latency = latency
        self.total_bytes = total_bytes
        self.model: str | None = None
        self.job: Job | None = None
        self.records: deque[JobRecord] = deque(maxlen=JOBS_REMEMBERED)
        self.outcomes: dict[tuple[str, Outcome], int] = {}
        self.model_loads: dict[str, int] = {}
        self.started = time.time()
        self._leave = leave
        self._lock = asyncio.Lock()
        self._in_use = 0
        self._busy_seconds = 0.0
        self._busy_since: float | None = None

    @property
    def bytes_in_use(self) -> int:
        """Bytes of the loaded model and of the job that runs."""
        return self._in_use + (memory.model_bytes(self.model) if self.model else 0)

    @property
    def busy_seconds(self) -> float:
        """Seconds that the GPU has worked so far, the running job's included."""
        running = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
        return self._busy_seconds + running

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Waits for the GPU, in order of arrival, and keeps it."""
        async with self._lock:
            self._busy_since = time.monotonic()
            try:
                yield
            finally:
                self._busy_seconds += time.monotonic() - self._busy_since
                self._busy_since = None

    @contextmanager
    def running(
        self, kind: str, prompt: str, faults: Struck, *, identifier: str | None = None, cached: bool = False
    ) -> Iterator[Job]:
        """Runs a job, within a turn, and writes it down; an exception makes it a failed one."""
        record = JobRecord(
            id=identifier or uuid.uuid4().hex,
            kind=kind,
            prompt=prompt,
            started=time.time(),
            cached=cached,
            faults=sorted(faults),
        )
        begin = time.monotonic()
        self.records.append(record)
        self.job = job = Job(record, faults, self._leave)
        # Written before anything happens: of a job in which the process dies, this line is all that is left.
        log.info("job began", job=record.id, kind=kind, prompt=prompt[:500])
        try:
            yield job
        except memory.OutOfMemoryError:
            record.outcome = "out-of-memory"
            raise
        except BaseException:
            record.outcome = "failed"
            raise
        finally:
            if record.outcome == "running":
                record.outcome = "interrupted" if job.interrupted else "succeeded"
            record.finished = time.time()
            record.duration = time.monotonic() - begin
            key = (kind, record.outcome)
            self.outcomes[key] = self.outcomes.get(key, 0) + 1
            log.info("job ended", job=record.id, kind=kind, outcome=record.outcome, seconds=round(record.duration, 3))
            self.job = None
            self._in_use = 0

    def allocate(self, wanted: int) -> None:
        """Reserves bytes for the running job until it ends.

        Raises:
            OutOfMemoryError: there are not that many beside the model.
        """
        free = self.total_bytes - self.bytes_in_use
        if wanted > free:
            raise memory.OutOfMemoryError(wanted, max(free, 0), self.total_bytes)
        self._in_use += wanted

    def release(self) -> None:
        """Gives back what the running job has reserved."""
        self._in_use = 0

    def fail_if_ordered(self, faults: Struck) -> None:
        """Raises the out-of-memory error if a fault orders one."""
        if FaultName.OUT_OF_MEMORY in faults:
            raise memory.OutOfMemoryError(2 * self.total_bytes, self.total_bytes // 10, self.total_bytes)

    async def load(self, model: str) -> None:
        """Puts a checkpoint in the place of the present one; it cannot be interrupted, as with the real servers.

        Raises:
            OutOfMemoryError: the checkpoint alone does not fit.
        """
        if self.model == model:
            return
        size = memory.model_bytes(model)
        self.model = None
        if size > self.total_bytes:
            raise memory.OutOfMemoryError(size, self.total_bytes, self.total_bytes)
        await asyncio.sleep(self.latency.model_load(size))
        self.model = model
        self.model_loads[model] = self.model_loads.get(model, 0) + 1

    def describe_jobs(self) -> list[dict[str, object]]:
        """Every job, oldest first, as JSON-ready dictionaries."""
        return [asdict(record) for record in self.records]

"""Adds to the lists of tasks by group commit: what waits at the same moment goes out in one write for each log.

A list is a convenience. It never refuses a task, nor keeps one waiting for more than a moment; what could not be
written is written as soon as S3 takes it. Only the end of this process in between leaves a task out of a list, and it
loses nothing else: it is found by its id, runs, and is called back for.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import batched
from typing import Final

import structlog

from contract.identifiers import TaskRef, new_ulid
from contract.objects import LISTS, USAGE
from contract.record import Submission
from contract.store import S3Client
from contract.task_log import MOST_ADDED, SUBMITTED, UNSUCCESSFUL, TaskLog, ended_line, submitted_line
from contract.usage import log_of, used_line

WAIT_SECONDS: Final = 2.0
"""For which somebody waits for his line at most."""

_CALL_SECONDS: Final = 12.0
"""For one write, S3's own retries and lost races included."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0
"""Seconds between two tries while S3 is away."""

_MOST_WAITING: Final = 20_000
"""Lines of one log that wait while S3 is away; beyond them, the oldest are given up."""

_MOST_LOGS: Final = 1000
"""Of which the head is remembered."""

_log = structlog.get_logger(__name__)

Wait = Callable[[], Awaitable[object]]
"""Waits until a line is in its log, or until it has waited long enough."""


class TaskLists:
    """The lists of an output bucket, as one process adds to them.

    Args:
        s3: the client.
        bucket: the output bucket.
    """

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._process = new_ulid()
        self._writers: OrderedDict[tuple[str, str], _Writer] = OrderedDict()

    def submitted(self, task: TaskRef, submission: str, *, runtime: str, tasktype: str, at: datetime) -> Wait:
        """Begins to list a submission; what is returned waits for that."""
        line = submitted_line(task, submission, runtime=runtime, tasktype=tasktype, at=at)
        return self._writer(task.tenant, SUBMITTED).add(line)

    def unsuccessful(self, task: TaskRef, ended: Submission) -> Wait:
        """Begins to list a submission that has ended without success; what is returned waits for that."""
        return self._writer(task.tenant, UNSUCCESSFUL).add(ended_line(task, ended))

    def used(self, task: TaskRef, ended: Submission) -> Wait | None:
        """Begins to book what a submission that has ended has cost; what is returned waits for that.

        None: nothing is known to be booked.
        """
        if ended.cost is None:
            return None
        return self._writer(task.tenant, log_of(ended, self._process), USAGE).add(used_line(task, ended))

    async def flush(self) -> None:
        """Waits, as long as anybody would, until all is written."""
        waits = [writer.waiting for writer in self._writers.values() if not writer.idle]
        for waiting in waits:
            await waiting.wait()

    def _writer(self, tenant: str, name: str, folder: str = LISTS) -> _Writer:
        key = tenant, name
        writer = self._writers.get(key)
        if writer is None:
            writer = self._writers[key] = _Writer(TaskLog(self._s3, self._bucket, tenant, name, folder=folder))
            if len(self._writers) > _MOST_LOGS:
                idle = next((other for other, found in self._writers.items() if found.idle and other != key), None)
                self._writers.pop(idle) if idle else None
        return writer


class _Writer:
    """Adds to one log, one write after the other."""

    def __init__(self, log: TaskLog) -> None:
        self._log = log
        self._lines: list[bytes] = []
        self._task: asyncio.Task[None] | None = None
        self.waiting = asyncio.Event()
        """Of all lines that are not being written yet; set in time, whatever becomes of them."""

    @property
    def idle(self) -> bool:
        """Whether nothing is to be written."""
        return self._task is None

    def add(self, line: bytes) -> Wait:
        if not self._lines:
            self.waiting = asyncio.Event()
            asyncio.get_running_loop().call_later(WAIT_SECONDS, self.waiting.set)
        self._lines.append(line)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="task lists")
        return self.waiting.wait

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while self._lines:
                lines, self._lines, waiting = self._lines, [], self.waiting
                try:
                    for some in batched(lines, MOST_ADDED, strict=False):
                        async with asyncio.timeout(_CALL_SECONDS):
                            await self._log.add(some)
                except Exception as error:  # noqa: BLE001 - whatever it is, a list must not do harm
                    _log.warning("cannot list tasks now", tasks=len(lines), error=repr(error))
                    # Those that were written are recognised.
                    self._lines = [*lines, *self._lines][-_MOST_WAITING:]
                    await asyncio.sleep(pause)
                    pause = min(_LONGEST_PAUSE, 2 * pause)
                else:
                    waiting.set()
                    pause = _FIRST_PAUSE
        finally:
            self._task = None

"""Ends the tasks that were to begin by now, when no agent is there to do so.

A task with a `start_by` leaves a mark in S3, whose key begins with that time. So one listing tells which are due, and
when to look next. The process that has accepted a task looks at its time; the others a little later, in case it is
gone, and now and then for marks of which they do not know.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from functools import partial
from itertools import batched
from typing import Final

import structlog
from botocore.exceptions import ClientError
from pydantic import ValidationError

from api.aws import S3
from api.callbacks import Callbacks
from api.metrics import Metrics
from contract.identifiers import TaskRef
from contract.objects import DEADLINES, Deadline
from contract.outages import is_outage
from contract.record import EXPIRED, Status, Submission, TransitionError, expire
from contract.store import ContendedRecordError, RecordStore

LONGEST_RUN: Final = timedelta(days=1)
"""A run that began longer ago has lost its agent."""

NOT_WRITTEN: Final = timedelta(minutes=2)
"""Within which a record is written whose mark is there; after that, its submission was never accepted."""

OFTEN, SELDOM = timedelta(minutes=1), timedelta(hours=1)
"""Between two looks at a task that runs beyond its time: its agent may die."""

OTHERS: Final = (5.0, 15.0)
"""Seconds, drawn once, that a process leaves to the one that has accepted a task."""

_SOON: Final = 10.0
"""Seconds until what could not be done is tried again."""

_LOOKING: Final = 4
"""Tasks at once: requests of clients go first."""

_AT_ONCE: Final = 1000
"""Marks of one look; the next one follows at once."""

_MOST_OWN: Final = 20_000

_log = structlog.get_logger(__name__)


class Fate(Enum):
    """What a mark that is due calls for."""

    FORGET = auto()
    END = auto()
    CALL_BACK = auto()
    """It has ended, and its callback is not known to be out."""


def fate(submission: Submission | None, marked: datetime, now: datetime) -> Fate | datetime:
    """Returns what is to be done about a mark that is due; a time: look again then, for it runs or is being written.

    Args:
        submission: as its record has it; None: there is none.
        marked: when it was due.
        now: by this process's clock.
    """
    if submission is None:
        return _later(marked, now) if now < marked + NOT_WRITTEN else Fate.FORGET
    if submission.status.terminal:
        owed = submission.status is Status.EXPIRED and submission.owes_callback
        return Fate.CALL_BACK if owed else Fate.FORGET
    if submission.start_by is None:
        return Fate.FORGET
    if not submission.is_too_late(now):
        return submission.start_by
    if submission.holder is not None and now < (submission.started_at or now) + LONGEST_RUN:
        return _later(submission.start_by, now)
    return Fate.END


def _later(since: datetime, now: datetime) -> datetime:
    """Returns when to look again, more and more rarely.

    The steps are the same for all: processes that look at one mark at about the same time leave one, not one each.
    """
    over = now - since
    if over >= SELDOM:
        return since + (over // SELDOM + 1) * SELDOM
    return since + OFTEN * (1 << (over // OFTEN).bit_length())


class Deadlines:
    """The marks of all tasks that are to begin by some time.

    Args:
        s3: the client.
        bucket: the output bucket.
        store: the task records.
        callbacks: the callback topic.
        metrics: counts what was done.
        interval: seconds between two looks for marks of other processes.
    """

    def __init__(
        self, *, s3: S3, bucket: str, store: RecordStore, callbacks: Callbacks, metrics: Metrics, interval: float
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._store = store
        self._callbacks = callbacks
        self._metrics = metrics
        self._interval = interval
        self._others = timedelta(seconds=min(random.uniform(*OTHERS), interval))  # noqa: S311 - no secret
        self._own: OrderedDict[str, None] = OrderedDict()
        self._next = datetime.max.replace(tzinfo=UTC)
        self._sooner = asyncio.Event()

    async def mark(self, deadline: Deadline) -> None:
        """Marks a task, so that its end comes whatever becomes of this process; doing so again changes nothing.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: S3 is out of reach.
        """
        await self._put(deadline)
        self._own[deadline.submission] = None
        if len(self._own) > _MOST_OWN:
            self._own.popitem(last=False)
        if deadline.at < self._next:
            self._next = deadline.at
            self._sooner.set()

    async def wait(self, seconds: float) -> None:
        """Waits for so long, or until a task of this process is due."""
        self._next = min(self._next, datetime.now(UTC) + timedelta(seconds=seconds))
        while (left := (self._next - datetime.now(UTC)).total_seconds()) > 0:
            self._sooner.clear()
            try:
                async with asyncio.timeout(left):
                    await self._sooner.wait()
            except TimeoutError:
                break

    async def sweep(self) -> float:
        """Does what is due, and returns how many seconds there are until the next look.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: AWS is out of reach.
        """
        now = datetime.now(UTC)
        self._next = now + timedelta(seconds=self._interval)  # a task that is accepted meanwhile makes it sooner
        due, some_done = await self._due(now), False
        for some in batched(due, _LOOKING, strict=False):
            for done in await asyncio.gather(*(self._look(item, now) for item in some), return_exceptions=True):
                if isinstance(done, BaseException):
                    raise done
                some_done |= done
                if not done:
                    self._next = min(self._next, now + timedelta(seconds=_SOON))
        if len(due) == _AT_ONCE and some_done:
            return 0.0
        return max(0.0, (self._next - datetime.now(UTC)).total_seconds())

    async def _due(self, now: datetime) -> list[Deadline]:
        """Returns the marks that are due, the oldest first; what is due next makes the next look sooner."""
        due: list[Deadline] = []
        async for found in self._s3.list_folder(Bucket=self._bucket, Prefix=DEADLINES):
            if (deadline := Deadline.read(found.key)) is None:
                continue
            at = deadline.at if deadline.submission in self._own else deadline.at + self._others
            if at <= now:
                due.append(deadline)
            else:
                self._next = min(self._next, at)
            if deadline.at > now or len(due) == _AT_ONCE:
                break
        return due

    async def _look(self, deadline: Deadline, now: datetime) -> bool:
        """Does what one mark calls for; returns whether it is done with."""
        task = deadline.task
        try:
            stored = await self._store.read(task, about=deadline.submission)
            submission = stored.record.find(deadline.submission) if stored is not None else None
            verdict = fate(submission, deadline.at, now)
            if verdict is Fate.END and submission is not None:
                end = partial(
                    expire,
                    submission=deadline.submission,
                    seen_attempts=submission.attempts,
                    now=now,
                    callback_owed=True,
                )
                ended = await self._store.change(task, end, known=stored, about=deadline.submission)
                submission = ended.record.find(deadline.submission)
                self._note_end(task, submission)
                verdict = Fate.CALL_BACK
            if verdict is Fate.CALL_BACK and submission is not None:
                if not await self._callbacks.send(task, submission):
                    return False
            elif isinstance(verdict, datetime):
                await self._put(deadline._replace(at=verdict))
            await self._forget(deadline)
        except (TransitionError, ContendedRecordError):
            return False  # an agent has begun or ended it just now
        except ValidationError:
            _log.exception("record unreadable", task_id=task.id, tenant=task.tenant)
            await self._put(deadline._replace(at=now + SELDOM))
            await self._forget(deadline)
        except ClientError as error:
            if is_outage(error):
                raise
            _log.exception("cannot look after the task", task_id=task.id, tenant=task.tenant)
            return False
        return True

    def _note_end(self, task: TaskRef, submission: Submission | None) -> None:
        if submission is None:
            return
        _log.info(
            "task_ended",
            task_id=task.id,
            tenant=task.tenant,
            submission=submission.submission,
            status=submission.status,
            code=submission.error.code if submission.error else None,
        )
        self._metrics.swept.labels(EXPIRED if submission.status is Status.EXPIRED else submission.status.value).inc()

    async def _put(self, deadline: Deadline) -> None:
        await self._s3.put_object(Bucket=self._bucket, Key=deadline.key, Body=b"{}", ContentType="application/json")

    async def _forget(self, deadline: Deadline) -> None:
        await self._s3.delete_object(Bucket=self._bucket, Key=deadline.key)
        self._own.pop(deadline.submission, None)

"""Ends the submissions that wait longer than SQS keeps their messages, and calls back for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from botocore.exceptions import ClientError
from pydantic import ValidationError

from api.aws import S3, UNAVAILABLE
from api.callbacks import Callbacks
from api.metrics import Metrics
from api.sweeps.turns import OvertakenError, Turn, Turns, lease_for
from api.sweeps.verdicts import Rules, Swept, end_of, judge
from contract.identifiers import TaskRef
from contract.objects import RECORDS, task_of_record
from contract.outages import is_outage
from contract.record import Failure, Record, Status, Submission, TransitionError, end_unstarted
from contract.store import ContendedRecordError, RecordStore, Stored

_READING: Final = 4
"""Records at once: requests of clients go first."""

_GIVING_UP: Final = 2
"""Seconds that a process which ends takes to let another one sweep."""

_log = structlog.get_logger(__name__)


class Expiry:
    """The sweep through all records.

    Args:
        s3: the client.
        bucket: the output bucket.
        store: the task records.
        callbacks: the callback topic.
        metrics: counts what was done.
        rules: how long things may take.
        interval: between two sweeps.
    """

    def __init__(
        self,
        *,
        s3: S3,
        bucket: str,
        store: RecordStore,
        callbacks: Callbacks,
        metrics: Metrics,
        rules: Rules,
        interval: timedelta,
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._store = store
        self._callbacks = callbacks
        self._metrics = metrics
        self._rules = rules
        self._interval = interval
        self._turns = Turns(s3, bucket, interval)

    async def sweep(self) -> float:
        """Sweeps if it is this process's turn, and returns how many seconds there are until the next look.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: AWS is out of reach. What was done
                is done, and the next sweep begins where this one did.
        """
        now = await self._turns.now()
        turn = await self._turns.take(now)
        if not isinstance(turn, Turn):
            return turn
        try:
            async with self._kept(turn, now):
                swept = await self._sweep(turn.note.swept, now)
            await self._turns.complete(turn, swept)
        except OvertakenError:
            _log.warning("another process sweeps for expired tasks now")
        except BaseException:
            await asyncio.shield(self._give_up(turn))
            raise
        return self._interval.total_seconds()

    @asynccontextmanager
    async def _kept(self, turn: Turn, began: datetime) -> AsyncIterator[None]:
        """Keeps the turn meanwhile.

        Raises:
            OvertakenError: somebody else has taken it over.
        """
        started = time.monotonic()

        async def keep() -> None:
            while True:
                await asyncio.sleep(lease_for(self._interval).total_seconds() / 3)
                await self._turns.keep(turn, began + timedelta(seconds=time.monotonic() - started))

        try:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(keep())
                yield
                keeping.cancel()
        except ExceptionGroup as errors:
            raise _first(errors) from None  # one is enough to begin anew

    async def _give_up(self, turn: Turn) -> None:
        try:
            async with asyncio.timeout(_GIVING_UP):
                await self._turns.give_up(turn)
        except (*UNAVAILABLE, OvertakenError) as error:  # it ends by itself
            _log.debug("the turn was not given up", error=repr(error))

    async def _sweep(self, swept: Swept, now: datetime) -> Swept:
        keys: asyncio.Queue[str | None] = asyncio.Queue(_READING)
        again = {key: at for key, at in swept.again.items() if at > now}
        read = 0

        async def look() -> None:
            while (key := await keys.get()) is not None:
                at = await self._look(key, now)
                again.pop(key, None)
                if at is not None:
                    again[key] = at

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(look()) for _ in range(_READING)]
            async for found in self._s3.list_folder(Bucket=self._bucket, Prefix=RECORDS):
                if swept.wants(found.key, found.modified, now, self._rules):
                    read += 1
                    await keys.put(found.key)
            for _ in readers:
                await keys.put(None)
        _log.info("swept for expired tasks", records=read, again=len(again))
        return swept.after(now, self._rules, again)

    async def _look(self, key: str, now: datetime) -> datetime | None:
        """Does what one record calls for, and returns when to look again."""
        task = task_of_record(key)
        if task is None:
            return None
        try:
            stored = await self._store.read(task)
            return await self._settle(task, stored, now) if stored is not None else None
        except ValidationError:
            _log.exception("record unreadable", task_id=task.id, tenant=task.tenant)
            return None
        except ClientError as error:
            if is_outage(error):
                raise
            _log.exception("cannot look after the task", task_id=task.id, tenant=task.tenant)
            return now

    async def _settle(self, task: TaskRef, stored: Stored, now: datetime) -> datetime | None:
        modified = stored.modified or now
        verdict = judge(stored.record, modified=modified, now=now, rules=self._rules)
        ended = list(verdict.to_call_back)
        for submission in verdict.to_end:
            status, error = end_of(submission, self._rules)
            end = partial(_end_as_judged, judged=submission, status=status, error=error, now=now)
            try:
                stored = await self._store.change(task, end, known=stored)
            except (TransitionError, ContendedRecordError):
                return now  # an agent has it after all
            _log.warning(
                "task_ended",
                task_id=task.id,
                tenant=task.tenant,
                submission=submission.submission,
                status=status,
                code=error.code,
            )
            self._metrics.swept.labels(error.code).inc()
            if (found := stored.record.find(submission.submission)) is not None:
                ended.append(found)
        sent = [await self._callbacks.send(task, submission) for submission in ended]
        self._metrics.swept.labels("called_back").inc(sum(sent))
        # This process goes on to try, but may die.
        return verdict.again_at if all(sent) else now


def _end_as_judged(
    record: Record | None, *, judged: Submission, status: Status, error: Failure, now: datetime
) -> Record:
    """Returns the record in which a submission has ended, if it still is as it was when that was decided.

    Raises:
        TransitionError: it is not.
    """
    if record is None or record.find(judged.submission) != judged:
        raise TransitionError("it has changed meanwhile")
    return end_unstarted(record, judged.submission, status=status, now=now, error=error, callback_owed=True)


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    error: Exception = errors
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error

"""Watches the records of held tasks for a cancel, and reports the running one's progress on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from agent.aws import CALL_TIMEOUT, describe
from agent.decisions import Arrival, on_arrival
from agent.holdings import Held, Holdings, Interruption, Stage
from agent.meter import Meter
from agent.outcomes import Abandoned, Cancelled, Expired, Outcome, Settled
from contract.outages import OUTAGES
from contract.progress import progress_interval
from contract.record import Status, TransitionError, report_progress
from contract.store import RecordStore, Stored

log = structlog.get_logger()

WATCH_INTERVAL: Final = 1.0
"""Seconds between two looks at one record: so long does a cancel take to arrive."""

_PROGRESS_STEP: Final = 0.01
"""Smaller steps are not worth a write."""


@dataclass(slots=True)
class _Reports:
    """Of one run, by the monotonic clock: when it was first seen, and when its progress is to be written next."""

    began: float
    due: float


class RecordWatch:
    """Looks at each held record about once a second; a record that nobody has changed costs no transfer.

    Now and then, as `contract.progress` says, a look at a running task's record is the write of its progress.

    Args:
        store: the task records.
        holdings: all held messages.
        withdraw: takes a task that does not run yet out of the pipeline.
        reported: is called when the progress of a run has been written.
        meter: knows what a run has cost so far.
    """

    def __init__(
        self,
        store: RecordStore,
        holdings: Holdings,
        *,
        withdraw: Callable[[Held, Outcome], None],
        reported: Callable[[Held], None] = lambda _: None,
        meter: Meter | None = None,
    ) -> None:
        self._store = store
        self._holdings = holdings
        self._withdraw = withdraw
        self._reported = reported
        self._meter = meter or Meter()
        self._reports: dict[Held, _Reports] = {}

    async def run(self) -> None:
        """Watches until cancelled."""
        while True:
            await asyncio.sleep(WATCH_INTERVAL / 4)
            now = time.monotonic()
            watched = [held for held in self._holdings if _is_watched(held)]
            self._reports = {
                held: self._reports.get(held) or _Reports(now, now + progress_interval(0))
                for held in watched
                if held.stage is Stage.RUNNING
            }
            due = now - WATCH_INTERVAL
            await asyncio.gather(*(self._look(held, held.stage) for held in watched if held.checked_at <= due))

    async def _look(self, held: Held, stage: Stage) -> None:
        # The stage it was chosen in: a run that begins before the look does is not in the record yet.
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                if stage is Stage.RUNNING and self._has_news(held):
                    await self._report(held)
                else:
                    await self._refresh(held)
        except OUTAGES as error:
            held.checked_at = time.monotonic()
            log.debug("record_out_of_reach", error=describe(error))
            return
        if held.stage is not stage:
            return
        if stage is Stage.RUNNING:
            self._judge_running(held)
        else:
            outcome = _judge_waiting(held)
            if outcome is not None:
                self._withdraw(held, outcome)

    async def _refresh(self, held: Held) -> None:
        known = held.stored
        _keep(held, await self._store.read(held.metadata.ref, known=known), known=known)

    def _has_news(self, held: Held) -> bool:
        is_due = time.monotonic() >= self._reports[held].due
        return is_due and held.progress - held.reported_progress >= _PROGRESS_STEP

    async def _report(self, held: Held) -> None:
        progress, known = held.progress, held.stored
        transition = partial(
            report_progress,
            submission=held.submission_id,
            holder=held.holder,
            attempt=held.attempt,
            progress=round(progress, 3),
            cost=self._meter.cost_of(held),
        )
        try:
            _keep(held, await self._store.change(held.metadata.ref, transition, known=known), known=known)
        except TransitionError:
            held.interrupt(Interruption.OVERTAKEN)
            held.checked_at = time.monotonic()
        else:
            held.reported_progress = progress
            self._reported(held)
            reports, now = self._reports[held], time.monotonic()
            reports.due = now + progress_interval(now - reports.began)

    def _judge_running(self, held: Held) -> None:
        if not held.is_holder:
            held.interrupt(Interruption.OVERTAKEN)
        elif held.submission.status is Status.CANCELLING:
            held.interrupt(Interruption.CANCEL)


def _keep(held: Held, stored: Stored | None, *, known: Stored | None) -> None:
    """Remembers the record, unless the run's start or end was written meanwhile: what came late is the older one.

    Nor one that knows nothing of this submission, made anew after its record was lost: the next write will be refused.
    """
    if stored is not None and held.stored is known and stored.record.find(held.submission_id) is not None:
        held.keep(stored)
    else:
        held.checked_at = time.monotonic()


def _is_watched(held: Held) -> bool:
    if held.stored is None:
        return False
    if held.stage is Stage.RUNNING:
        return held.attempt > 0
    return held.stage in {Stage.PREPARING, Stage.PREPARED}


def _judge_waiting(held: Held) -> Outcome | None:
    """Returns what becomes of a task that waits to run, or None when it may go on waiting."""
    # As if received before, and the holder's own: that it is no second copy was settled when it came.
    submission = held.submission
    match on_arrival(submission, receive_count=2, message=submission.message, now=datetime.now(UTC)):
        case Arrival.SETTLE:
            return Settled()
        case Arrival.CANCEL:
            return Cancelled()
        case Arrival.EXPIRE:
            return Expired()
        case _:
            return Abandoned() if submission.attempts > held.seen_attempts else None

"""Decides which records a sweep reads, and what becomes of the submissions in them; pure functions, no I/O.

SQS forgets a message after `RETENTION`, its submission stays in the record. So each sweep reads

- the records that were written since the last one: what they hold is seen at least once, however often they change;
- those that have lain unchanged for as long as a submission may wait, which finds nearly all that wait too long;
- those that an earlier sweep wanted to see again by now. These are few: records in which a submission is older than the
  last change, such as one whose agent has died, or an earlier submission of an id that is used again and again.

All moments are of S3's clock, but for those in the records, which are believed as far as S3's clock allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self

from contract.record import EXPIRED, Failure, Record, Status, Submission
from contract.topology import EXPIRY

CALLBACK_GRACE: Final = timedelta(minutes=2)
"""At most, before a sweep takes over a callback that is owed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long things may take."""

    expiry: timedelta = timedelta(seconds=EXPIRY)
    """From a submission to its end; less than SQS keeps its message."""
    longest_run: timedelta = timedelta(days=1)
    """A run that began longer ago has lost its agent."""
    tolerance: timedelta = timedelta(hours=1)
    """A submission may be found so much too late, for the sake of a short list of records to be seen again."""
    overlap: timedelta = timedelta(minutes=5)
    """A write may take so long from the moment that S3 gives it until a listing shows it."""
    callback_grace: timedelta = CALLBACK_GRACE
    """Who ends a submission calls back within so much, or has died."""

    @classmethod
    def for_sweeps(cls, *, expiry: timedelta, interval: timedelta) -> Self:
        """Returns the rules of sweeps that follow each other so soon: none waits longer for another than for a sweep.

        A callback that was only slow is then published twice, which "at least once" allows.
        """
        return cls(expiry=expiry, callback_grace=min(CALLBACK_GRACE, interval))


@dataclass(frozen=True, slots=True)
class Swept:
    """How far sweeps have come."""

    written_until: datetime | None = None
    """Records that were written until then have been read; None: there was no sweep yet."""
    unchanged_since: datetime | None = None
    """Records that were last written until then have been read as those that have lain unchanged."""
    again: Mapping[str, datetime] = field(default_factory=dict)
    """Keys of records that are to be read again, and when."""

    def wants(self, key: str, modified: datetime, now: datetime, rules: Rules) -> bool:
        """Tells whether a sweep that begins now reads the record at `key`, last written at `modified`."""
        if self.written_until is None or modified > self.written_until - rules.overlap:
            return True
        if (due := self.again.get(key)) is not None and due <= now:
            return True
        return modified <= now - rules.expiry and (self.unchanged_since is None or modified > self.unchanged_since)

    def after(self, now: datetime, rules: Rules, again: Mapping[str, datetime]) -> Swept:
        """Returns how far a sweep has come that began now, and has done all that it wanted."""
        unchanged = now - rules.expiry
        if self.unchanged_since is not None:
            unchanged = max(unchanged, self.unchanged_since)
        return Swept(now, unchanged, again)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the submissions of one record."""

    to_end: tuple[Submission, ...] = ()
    """Nobody will end them."""
    to_call_back: tuple[Submission, ...] = ()
    """They have ended, and their callback is due from the API."""
    again_at: datetime | None = None
    """When to read the record again, even if nobody writes it until then."""


def judge(record: Record, *, modified: datetime, now: datetime, rules: Rules) -> Verdict:
    """Returns what becomes of a record's submissions.

    Args:
        record: as it stands.
        modified: when it was written.
        now: the moment of the sweep.
        rules: how long things may take.
    """
    to_end: list[Submission] = []
    to_call_back: list[Submission] = []
    again: list[datetime] = []
    found_unchanged_at = modified + rules.expiry
    for submission in (record.current, *record.earlier.values()):
        due = _due(record, submission, modified, rules)
        if due is None:
            continue
        if now >= due:
            (to_call_back if submission.status.terminal else to_end).append(submission)
        elif not (now < found_unchanged_at and due <= found_unchanged_at <= due + rules.tolerance):
            again.append(due)
    return Verdict(tuple(to_end), tuple(to_call_back), min(again, default=None))


def _due(record: Record, submission: Submission, modified: datetime, rules: Rules) -> datetime | None:
    """Returns when something is to be done about a submission; None: nothing ever."""
    if submission.status.terminal:
        if not submission.owes_callback:
            return None
        return min(submission.finished_at or modified, modified) + rules.callback_grace
    due = _waits_since(record, submission, modified) + rules.expiry
    if submission.holder is not None and submission.started_at is not None:
        return max(due, min(submission.started_at, modified) + rules.longest_run)
    return due


def _waits_since(record: Record, submission: Submission, modified: datetime) -> datetime:
    """Returns since when a submission's message is in its queue."""
    sent = submission.sent_at
    if sent is None and not record.earlier and submission.status is Status.QUEUED and submission.attempts == 0:
        # Nothing but its submission can have written the record, and S3's clock is better than anybody's.
        return modified
    return min(sent or submission.submitted_at, modified)


def end_of(submission: Submission, rules: Rules) -> tuple[Status, Failure]:
    """Returns how a submission ends that nobody else ends."""
    if submission.status is Status.CANCELLING:
        return Status.CANCELLED, Failure(code="cancelled", message="the task was cancelled; its agent was gone by then")
    return Status.FAILED, Failure(
        code=EXPIRED, message=f"no agent brought it to an end within {_words(rules.expiry)}; AWS keeps no task longer"
    )


def _words(span: timedelta) -> str:
    days = span.total_seconds() / 86400
    return f"{days:g} days" if days >= 1 else f"{span.total_seconds():g} seconds"

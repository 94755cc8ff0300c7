"""The record of a task: its states, who holds it, and the only transitions there are.

Pure functions from record to record. `contract.store` applies them with S3's conditional writes, so that of two
writers never both win.

    queued ──start──▶ running ──finish──▶ succeeded | failed | cancelled
      │ │                │ │└─start (a second attempt, after a crash or a transient error)
      │ │                │ └─request_cancel──▶ cancelling ──finish──▶ cancelled (or what the runtime had already done)
      │ └─request_cancel─│───▶ cancelled
      └────────expire────┴───▶ expired (no attempt begins after `start_by`; one that is under way goes on)

A task id may be submitted again. The newest submission is `current`; earlier ones stay in `earlier` until they have
ended and are crowded out. `contract.store` keeps those beside the record: their messages may still come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from contract.costs import Cost
from contract.identifiers import TaskRef
from contract.tags import Tags
from contract.task import Metadata, TaskType
from contract.webhooks import Webhook

KEPT_EARLIER: Final = 20
"""Ended earlier submissions of one task id that are kept in its record; bounds the record's size."""

KEPT_IMAGES: Final = 2000
"""Images of all of those; with more, fewer are kept: whoever follows a task reads its record again and again."""

MAX_UNFINISHED: Final = 100
"""Submissions of one task id that may be under way at once; bounds the record's size."""


MAX_WARNINGS: Final = 20
MAX_WARNING: Final = 300
"""Warnings of one submission that are kept, and characters of each."""


_DOCUMENT: Final = ConfigDict(frozen=True, extra="allow")
"""What a newer version has written stays when an older one changes the record: for a while, both run."""


NOT_ACCEPTED: Final = "not_accepted"
"""The error code of a submission whose message could not be published: its client was told that it will not run."""


EXPIRED: Final = "expired"
"""The error code of a submission that nobody has begun in time, or has brought to an end."""


class Status(StrEnum):
    """Where a submission stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """No attempt had begun by its `start_by`."""

    @property
    def terminal(self) -> bool:
        """Whether this is an end: it never changes again within one submission."""
        return self in {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED}


class Failure(BaseModel):
    """Why a task failed: a stable code for programs and a sentence for people."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str


class Timings(BaseModel):
    """Seconds spent in each phase of the attempt that ended the task."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    queued: float | None = None
    """From the publication of its message to the start of that attempt, by SQS's own clock; None: SQS did not tell."""
    inputs: float | None = None
    generation: float | None = None
    upload: float | None = None


def _with_zone(moment: datetime) -> datetime:
    """Returns a moment that can be compared with others: a foreign publisher's may name no time zone, and is UTC."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _is_empty(value: object) -> bool:
    return not value


def _is_none(value: object) -> bool:
    return value is None


class Submission(BaseModel):
    """One accepted request and what became of it."""

    model_config = _DOCUMENT

    submission: str
    runtime: str
    tasktype: TaskType
    prefix: str
    context: JsonValue = None
    webhook: Webhook | None = None
    """Where its events are delivered. An agent that knows of none keeps it here as it is."""
    tags: Tags = Field(default_factory=dict, exclude_if=_is_empty)
    """Its owner's own words, by which costs are summed up. The record of a task without any has no such key."""
    wants_environment: str = Field(default="", exclude_if=_is_empty)
    """The hash of the environment that may run it; empty: any."""
    status: Status = Status.QUEUED
    submitted_at: Annotated[datetime, AfterValidator(_with_zone)]
    start_by: Annotated[datetime | None, Field(exclude_if=_is_none)] = None
    """No attempt begins from then on. Not written where there is none."""
    started_at: datetime | None = None
    """Of the newest attempt. Never before `submitted_at`, whatever the clocks of API and agent say."""
    finished_at: datetime | None = None
    """Never before `started_at`."""
    attempts: int = 0
    """How often a run was started."""
    excused: int = 0
    """How many of those runs ended without the task's fault: handed back at shutdown, or the runtime was away."""
    holder: str | None = None
    """The token of the agent process that started the newest attempt."""
    message: str = ""
    """The id of the SQS message by which that attempt came; empty: not known. Another one is a second copy."""
    fake: bool = False
    """Whether the newest attempt was begun at a server that plays a GPU: its results were made by no model."""
    environment: str = ""
    """The hash of the environment that ran the newest attempt (`contract.environment`); empty: not known."""
    progress: float | None = Field(default=None, ge=0, le=1)
    image_url: list[str] = Field(default_factory=list)
    output_url: str = ""
    error: Failure | None = None
    warnings: list[str] = Field(default_factory=list)
    """What is missing though the task succeeded, a sentence each."""
    timings: Timings | None = None
    cost: Cost | None = Field(default=None, exclude_if=_is_none)
    """What its attempts have used of GPUs: of one that runs, and of one whose agent died, as of its last report. None:
    its agents know of no price, or no attempt has used any yet; then the record has no such key."""
    dead_lettered: bool = False
    """The message went to the dead-letter queue."""
    sent_at: datetime | None = None
    """When SQS took its message, where `submitted_at` does not tell: a foreign publisher's, or one sent back from the
    dead letters."""
    callback_owed: bool = False
    """The API has ended it, and sees to its callback: maybe no agent ever gets its message."""
    callback_sent: bool = False
    """The callback went out and was noted here, or none is due since the sender was told that the task will not run.
    False does not mean that none went out."""
    callback_error: Failure | None = None
    """Why SNS refused the callback for good, and none went out. Its message is in the dead-letter queue then, and when
    it is sent back, the callback is tried again."""

    @property
    def owes_callback(self) -> bool:
        """Whether the API has yet to publish its callback, or to note that it did."""
        return self.status.terminal and self.callback_owed and not self.callback_sent

    @property
    def blamed(self) -> int:
        """Attempts that count against the task: each start that nobody excused."""
        return self.attempts - self.excused

    def is_too_late(self, now: datetime) -> bool:
        """Tells whether no attempt may begin any more."""
        return self.start_by is not None and now >= self.start_by

    @property
    def ended_unstarted_by_cancel(self) -> bool:
        """Whether a cancel ended it before any agent began: whether it has a message in a queue is not known."""
        return self.status is Status.CANCELLED and not self.attempts


def submission_of(
    metadata: Metadata, *, submitted_at: datetime, submission: str = "", sent_at: datetime | None = None
) -> Submission:
    """Returns the submission that a task's message tells of, as one that waits: whoever writes it loses nothing of it.

    Args:
        metadata: of the message.
        submitted_at: when its message was first sent.
        submission: its id, where the message has none.
        sent_at: when SQS took the message, where `submitted_at` does not tell.
    """
    return Submission(
        submission=metadata.submission or submission,
        runtime=metadata.runtime,
        tasktype=metadata.tasktype,
        prefix=metadata.prefix,
        context=metadata.context,
        webhook=metadata.webhook,
        tags=metadata.tags or {},
        wants_environment=metadata.environment or "",
        submitted_at=submitted_at,
        start_by=metadata.start_by,
        sent_at=sent_at,
    )


def is_not_accepted(submission: Submission) -> bool:
    """Tells whether a submission ended because it could not be published; nobody hears of its end."""
    return submission.error is not None and submission.error.code == NOT_ACCEPTED


class Record(BaseModel):
    """The document at `.tasks/{id}.json`, or `.tasks/{tenant}/{id}.json`."""

    model_config = _DOCUMENT

    version: int = 1
    id: str
    tenant: str = ""
    current: Submission
    earlier: dict[str, Submission] = Field(default_factory=dict)
    request: str = ""
    """What the current submission asked for, as `contract.kept_request` keeps it; empty: it is not kept. There is no
    room for those of earlier ones: a record is read and written again and again."""

    @property
    def ref(self) -> TaskRef:
        """Which task it is."""
        return TaskRef(self.id, self.tenant)

    def find(self, submission: str) -> Submission | None:
        """Returns one submission, or None when this record does not know it."""
        if self.current.submission == submission:
            return self.current
        return self.earlier.get(submission)

    def submissions(self) -> dict[str, Submission]:
        """Returns every submission that this record knows, by its id."""
        return {**self.earlier, self.current.submission: self.current}

    def without_baggage(self) -> Record:
        """Returns the record without what is only carried along: who compares or lists records keeps thousands."""
        current = self.current.model_copy(update={"context": None})
        return self.model_copy(update={"current": current, "earlier": {}, "request": ""})

    def replace(self, changed: Submission) -> Record:
        """Returns the record with one known submission replaced."""
        if self.current.submission == changed.submission:
            return self.model_copy(update={"current": changed})
        return self.model_copy(update={"earlier": {**self.earlier, changed.submission: changed}})


class TransitionError(Exception):
    """A transition that the record does not allow; `submission` is how it stands (None: unknown to the record)."""

    def __init__(self, message: str, submission: Submission | None = None) -> None:
        super().__init__(message)
        self.submission = submission


class AlreadyEndedError(TransitionError):
    """The submission is in a terminal state."""


class NotHolderError(TransitionError):
    """Another attempt has begun since: the caller's result no longer counts."""


class TooLateError(TransitionError):
    """The submission should have begun by now; `expire` it instead."""


class UnknownSubmissionError(TransitionError):
    """The record does not know the submission."""


class TooManyUnfinishedError(TransitionError):
    """Too many submissions of one task id are under way."""


Transition = Callable[[Record | None], Record]
"""A change to a record; None stands for 'no record yet'. Raises TransitionError when it is not allowed."""


def submit(record: Record | None, task: TaskRef, new: Submission, *, request: str = "") -> Record:
    """Returns the record with a new submission as its current one; one that is known already changes nothing.

    Raises:
        TooManyUnfinishedError: `MAX_UNFINISHED` submissions of this id are under way.
    """
    if record is None:
        return Record(id=task.id, tenant=task.tenant, current=new, request=request)
    if record.find(new.submission) is not None:
        return record
    earlier = {**record.earlier, record.current.submission: record.current}
    unfinished = {key: value for key, value in earlier.items() if not value.status.terminal or value.owes_callback}
    if len(unfinished) >= MAX_UNFINISHED:
        raise TooManyUnfinishedError(
            f"{len(unfinished)} submissions of task {task} are under way; wait for one to end, or use another id"
        )
    ended = [key for key in earlier if key not in unfinished]
    kept = {*_newest(earlier, ended), *unfinished}
    return record.model_copy(
        update={
            "current": new,
            "request": request,
            "earlier": {key: value for key, value in earlier.items() if key in kept},
        }
    )


def _newest(earlier: Mapping[str, Submission], ended: Sequence[str]) -> Iterator[str]:
    """Yields the ended submissions that a record keeps, the newest first."""
    images = 0
    for name in reversed(ended[-KEPT_EARLIER:]):
        images += len(earlier[name].image_url)
        if images > KEPT_IMAGES:
            return
        yield name


def _known(record: Record | None, submission: str) -> tuple[Record, Submission]:
    found = record.find(submission) if record is not None else None
    if record is None or found is None:
        raise UnknownSubmissionError(f"the record does not know submission {submission}")
    return record, found


def _held(record: Record | None, submission: str, holder: str, attempt: int) -> tuple[Record, Submission]:
    record, found = _known(record, submission)
    if found.status.terminal:
        raise AlreadyEndedError(f"submission {submission} has already ended as {found.status}", found)
    if found.holder != holder or found.attempts != attempt:
        raise NotHolderError(
            f"attempt {attempt} of submission {submission} was overtaken by attempt {found.attempts}", found
        )
    return record, found


def start(
    record: Record | None,
    submission: str,
    *,
    holder: str,
    message: str = "",
    fake: bool = False,
    environment: str = "",
    now: datetime,
) -> Record:
    """Returns the record with a new attempt running, held by `holder`, which has it from the message with this id.

    Raises:
        AlreadyEndedError, TooLateError, UnknownSubmissionError.
        TransitionError: a cancel was asked for; `finish` it as cancelled instead.
    """
    record, found = _known(record, submission)
    if found.status.terminal:
        raise AlreadyEndedError(f"submission {submission} has already ended as {found.status}", found)
    if found.status is Status.CANCELLING:
        raise TransitionError(f"submission {submission} is being cancelled", found)
    if found.is_too_late(now):
        raise TooLateError(f"submission {submission} was to begin by {found.start_by}", found)
    return record.replace(
        found.model_copy(
            update={
                "status": Status.RUNNING,
                "attempts": found.attempts + 1,
                "holder": holder,
                "message": message,
                "fake": fake,
                "environment": environment,
                "started_at": _not_before(now, found.submitted_at, found.started_at),
                "progress": None,
            }
        )
    )


def _not_before(now: datetime, *earlier: datetime | None) -> datetime:
    """Returns a moment that does not lie before what came before it: clocks of several machines differ, and go back."""
    return max(now, *(moment for moment in earlier if moment is not None))


def send_again(record: Record | None, submission: str, *, now: datetime) -> Record:
    """Returns the record of a submission whose message was sent anew, so that SQS keeps it from now on.

    Raises:
        AlreadyEndedError, UnknownSubmissionError.
    """
    record, found = _known(record, submission)
    if found.status.terminal:
        raise AlreadyEndedError(f"submission {submission} has already ended as {found.status}", found)
    return record.replace(found.model_copy(update={"sent_at": now}))


def excuse(record: Record | None, submission: str, *, holder: str, attempt: int, cost: Cost | None = None) -> Record:
    """Returns the record in which the running attempt no longer counts. The status stays: no record goes back.

    Args:
        record: as it stands.
        submission: which one.
        holder: of the attempt.
        attempt: its number.
        cost: what the submission has cost so far, this attempt included; None: not known.

    Raises:
        AlreadyEndedError, NotHolderError, UnknownSubmissionError.
    """
    record, found = _held(record, submission, holder, attempt)
    changes = {"excused": found.excused + 1, "holder": None, "progress": None}
    return record.replace(found.model_copy(update=changes | _known_cost(cost)))


def note_cost(record: Record | None, submission: str, *, holder: str, attempt: int, cost: Cost) -> Record:
    """Returns the record in which the holder's attempt, which is to be repeated, has told what was used so far.

    Raises:
        AlreadyEndedError, NotHolderError, UnknownSubmissionError.
    """
    record, found = _held(record, submission, holder, attempt)
    return record.replace(found.model_copy(update=_known_cost(cost)))


def _known_cost(cost: Cost | None) -> dict[str, Cost]:
    return {} if cost is None else {"cost": cost}


def let_go(record: Record | None, submission: str, *, holder: str, attempt: int, cost: Cost | None = None) -> Record:
    """Returns the record in which the running attempt has ended and counts, and the next one is waited for.

    So that whoever looks at `start_by` can tell a task that waits from one that runs. The arguments are `excuse`'s.

    Raises:
        AlreadyEndedError, NotHolderError, UnknownSubmissionError.
    """
    record, found = _held(record, submission, holder, attempt)
    return record.replace(found.model_copy(update={"holder": None, "progress": None} | _known_cost(cost)))


def expire(
    record: Record | None, submission: str, *, seen_attempts: int, now: datetime, callback_owed: bool = False
) -> Record:
    """Returns the record of a submission that nobody has begun in time; a cancel that was asked for comes first.

    Args:
        record: as it stands.
        submission: which one.
        seen_attempts: attempts when the caller found that it does not run.
        now: the caller's time.
        callback_owed: whether the API is to see to its callback.

    Raises:
        AlreadyEndedError, UnknownSubmissionError.
        NotHolderError: an attempt has begun since, in time.
        TransitionError: it may still begin.
    """
    record, found = _known(record, submission)
    if found.status.terminal:
        raise AlreadyEndedError(f"submission {submission} has already ended as {found.status}", found)
    if found.attempts != seen_attempts:
        raise NotHolderError(f"attempt {found.attempts} of submission {submission} began meanwhile", found)
    if found.status is Status.CANCELLING:
        status, error = Status.CANCELLED, Failure(code="cancelled", message="the task was cancelled")
    elif found.is_too_late(now):
        status, error = Status.EXPIRED, too_late(found)
    else:
        raise TransitionError(f"submission {submission} may still begin", found)
    return record.replace(_ended(found, status, now, error=error, callback_owed=callback_owed))


def too_late(submission: Submission, last: Failure | None = None) -> Failure:
    """Returns why a submission has expired.

    Args:
        submission: with a `start_by`.
        last: what its last attempt came to.
    """
    by = submission.start_by.isoformat(timespec="milliseconds") if submission.start_by is not None else "never"
    if last is not None:
        text = f"attempt {submission.attempts} came to {last.code} ({last.message}), and no other may begin after {by}"
    elif submission.attempts:
        text = f"{submission.attempts} of its attempts came to nothing, and no other had begun by {by}"
    else:
        text = f"no agent had begun it by {by}"
    return Failure(code=EXPIRED, message=text)


def finish(
    record: Record | None,
    submission: str,
    *,
    holder: str,
    attempt: int,
    status: Status,
    now: datetime,
    image_url: list[str] | None = None,
    output_url: str = "",
    error: Failure | None = None,
    warnings: Sequence[str] = (),
    timings: Timings | None = None,
    environment: str = "",
    dead_lettered: bool = False,
    cost: Cost | None = None,
) -> Record:
    """Returns the record in which the holder's attempt has ended the submission.

    Raises:
        AlreadyEndedError, NotHolderError, UnknownSubmissionError.
        ValueError: `status` is no end.
    """
    if not status.terminal:
        raise ValueError(f"{status} is not a terminal status")
    record, found = _held(record, submission, holder, attempt)
    return record.replace(
        _ended(
            found,
            status,
            now,
            error=error,
            image_url=image_url,
            output_url=output_url,
            warnings=warnings,
            timings=timings,
            environment=environment,
            dead_lettered=dead_lettered,
        ).model_copy(update=_known_cost(cost))
    )


def end_unstarted(
    record: Record | None,
    submission: str,
    *,
    status: Status,
    now: datetime,
    error: Failure | None = None,
    dead_lettered: bool = False,
    callback_owed: bool = False,
) -> Record:
    """Returns the record in which a submission has ended without a run by the caller.

    For a task that used up its attempts, one that is refused before its run, one whose cancel outlived its holder, and
    one whose message is lost.

    Raises:
        AlreadyEndedError, UnknownSubmissionError.
    """
    if not status.terminal:
        raise ValueError(f"{status} is not a terminal status")
    record, found = _known(record, submission)
    if found.status.terminal:
        raise AlreadyEndedError(f"submission {submission} has already ended as {found.status}", found)
    return record.replace(
        _ended(found, status, now, error=error, dead_lettered=dead_lettered, callback_owed=callback_owed)
    )


def _ended(
    found: Submission,
    status: Status,
    now: datetime,
    *,
    error: Failure | None,
    image_url: list[str] | None = None,
    output_url: str = "",
    warnings: Sequence[str] = (),
    timings: Timings | None = None,
    environment: str = "",
    dead_lettered: bool = False,
    callback_owed: bool = False,
) -> Submission:
    return found.model_copy(
        update={
            "status": status,
            "finished_at": _not_before(now, found.submitted_at, found.started_at),
            "image_url": image_url or [],
            "output_url": output_url,
            "error": error,
            "warnings": [warning[:MAX_WARNING] for warning in warnings[:MAX_WARNINGS]],
            "timings": timings,
            # One that was not known when the attempt began may be by now.
            "environment": found.environment or environment,
            "dead_lettered": dead_lettered,
            "callback_owed": callback_owed,
            "progress": 1.0 if status is Status.SUCCEEDED else found.progress,
        }
    )


def report_progress(
    record: Record | None, submission: str, *, holder: str, attempt: int, progress: float, cost: Cost | None = None
) -> Record:
    """Returns the record with the running attempt's progress (0 to 1), and what was used so far.

    Raises:
        AlreadyEndedError, NotHolderError, UnknownSubmissionError.
    """
    record, found = _held(record, submission, holder, attempt)
    changes = {"progress": min(1.0, max(0.0, progress))}
    return record.replace(found.model_copy(update=changes | _known_cost(cost)))


def request_cancel(record: Record | None, *, now: datetime) -> Record:
    """Returns the record of a task whose current submission was asked to stop.

    Queued: cancelled at once, it never runs. Running: `cancelling`, which only its agent ends.
    Asking again changes nothing.

    Raises:
        AlreadyEndedError: it has succeeded, failed, or was cancelled before.
        UnknownSubmissionError: there is no such task.
    """
    if record is None:
        raise UnknownSubmissionError("there is no such task")
    found = record.current
    if found.status.terminal:
        raise AlreadyEndedError(f"task {record.id!r} has already ended: it is {found.status}", found)
    if found.status is Status.QUEUED:
        error = Failure(code="cancelled", message="the task was cancelled before it ran")
        return record.replace(_ended(found, Status.CANCELLED, now, error=error, callback_owed=True))
    return record.replace(found.model_copy(update={"status": Status.CANCELLING}))


def note_callback(record: Record | None, submission: str) -> Record:
    """Returns the record in which the callback of an ended submission is noted as sent.

    Raises:
        UnknownSubmissionError.
    """
    record, found = _known(record, submission)
    return record.replace(found.model_copy(update={"callback_sent": True, "callback_error": None}))


def note_callback_refused(record: Record | None, submission: str, error: Failure) -> Record:
    """Returns the record in which the callback of an ended submission is noted as refused, and its message as buried.

    Raises:
        UnknownSubmissionError.
    """
    record, found = _known(record, submission)
    return record.replace(found.model_copy(update={"callback_error": error, "dead_lettered": True}))

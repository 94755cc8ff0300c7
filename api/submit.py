"""Accepts a task: record first, then the message, then the answer; what was answered with success is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import structlog
from pydantic import ValidationError

from api.aws import AWS_ERRORS, UNAVAILABLE, Aws
from api.callbacks import Callbacks
from api.deadlines import reason_to_refuse, resolve
from api.errors import ApiError, UnavailableError, unknown_task
from api.requests import TaskRequest
from api.sweeps.deadlines import Deadlines
from api.unsettled import Ticket, Unsettled
from api.webhooks import Webhooks
from contract.config import Config
from contract.documents import encode
from contract.identifiers import TaskRef, new_ulid
from contract.kept_request import ELSEWHERE, encode_request, pack
from contract.objects import Deadline, output_prefix, payload_key, request_key, s3_url
from contract.outages import is_gone
from contract.publications import Publications
from contract.record import (
    NOT_ACCEPTED,
    Failure,
    Record,
    Status,
    Submission,
    TooManyUnfinishedError,
    UnknownSubmissionError,
    end_unstarted,
    is_not_accepted,
    note_callback,
    submission_of,
    submit,
)
from contract.store import RecordStore
from contract.task import INLINE_LIMIT, SNS_MESSAGE_LIMIT, Metadata, TaskMessage, encode_task_message
from contract.task_lists import TaskLists
from contract.topology import message_attributes

_STEP_SECONDS: Final = 12
"""For each step; AWS's own retries happen within."""

_PUBLISHING: Final = 8
"""Calls to SNS at once. What comes while all are under way goes together, up to ten in one call: eight calls of 50 ms
take 1,600 tasks a second."""

_THREAD_THRESHOLD: Final = 64 * 1024
"""Bytes of a content above which it is looked through away from the event loop."""

_SETTLE_SECONDS: Final = 2.0
"""Between two tries to withdraw what nobody knows the fate of."""

_FOR_NOTHING: Final = frozenset({Status.CANCELLING, Status.CANCELLED, Status.EXPIRED})
"""States of a submission whose request, sent again, wants new work."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task that is on its way."""

    request: TaskRequest
    ticket: Ticket
    output_location: str


def new_ticket(request: TaskRequest, tenant: str) -> Ticket:
    """Returns a ticket for a new submission of a tenant."""
    return Ticket(TaskRef(request.task_id or new_ulid(), tenant), new_ulid(), datetime.now(UTC))


class Fate(StrEnum):
    """What became of a submission that was answered 503; the answer's details say it."""

    NOT_ACCEPTED = "not_accepted"
    """It will not run, and nobody is called back, unless for a cancel that came while it was on its way."""
    UNKNOWN = "unknown"
    """It may run, and be called back for."""


GONE: Final = (
    "AWS answers, but has no such topic or bucket (an emulator keeps its state in memory: one that was started again "
    "has lost all tasks and images, and needs `python -m local provision`; Compose and `up` do that by themselves)"
)


class NotAcceptedError(UnavailableError):
    """503 to a submission: AWS is out of reach."""

    def __init__(self, task_id: str, fate: Fate, cause: BaseException | None = None) -> None:
        text = "will not run" if fate is Fate.NOT_ACCEPTED else "may run or not"
        why = GONE if cause is not None and is_gone(cause) else "AWS is out of reach"
        super().__init__(
            f"{why}; this submission {text}; send it again with the same id",
            details={"id": task_id, "fate": fate},
        )


class Acceptance:
    """Writes and publishes tasks."""

    def __init__(
        self,
        *,
        aws: Aws,
        store: RecordStore,
        lists: TaskLists,
        callbacks: Callbacks,
        webhooks: Webhooks,
        deadlines: Deadlines,
        config: Config,
        bucket: str,
        topic_arn: str,
        message_bytes: int = SNS_MESSAGE_LIMIT,
        keep_requests: bool = True,
    ) -> None:
        self._aws = aws
        self._store = store
        self._lists = lists
        self._callbacks = callbacks
        self._webhooks = webhooks
        self._deadlines = deadlines
        self._config = config
        self._bucket = bucket
        self._more_inline = message_bytes - SNS_MESSAGE_LIMIT
        self._tasks = Publications(aws.sns, topic_arn, seconds=_STEP_SECONDS, parallel=_PUBLISHING)
        self._keep_requests = keep_requests
        self._unsettled = Unsettled()

    def accepted(self, request: TaskRequest, ticket: Ticket) -> Accepted:
        """Returns what is answered for a task that is on its way."""
        location = s3_url(self._bucket, output_prefix(request.prefix, ticket.task))
        return Accepted(request, ticket, location)

    async def accept_once(self, request: TaskRequest, tenant: str, *, trace: str, anew: bool = False) -> Accepted:
        """Puts a new task on its way, and sees to it that no earlier sending that was answered 503 runs besides.

        Raises:
            ApiError: as `accept`; 400, the time by which it is to begin has passed, or is too far away.
        """
        ticket = new_ticket(request, tenant)
        if (refusal := reason_to_refuse(request.start_by, ticket.submitted_at)) is not None:
            raise refusal
        earlier = self._unsettled.take(request, ticket.task)
        try:
            return await self.accept(request, ticket, trace=trace, is_new=True, instead_of=earlier, anew=anew)
        except ApiError:
            # The record of a task that will not run may still say that it is queued, when S3's answer was lost.
            for unsettled in [*earlier, ticket]:
                self._unsettled.note(request, unsettled)
            raise

    async def accept(
        self,
        request: TaskRequest,
        ticket: Ticket,
        *,
        trace: str,
        is_new: bool = False,
        instead_of: Sequence[Ticket] = (),
        anew: bool = False,
        withdraw: Callable[[], Awaitable[Fate | None]] | None = None,
    ) -> Accepted:
        """Puts a task on its way, and returns once it cannot be lost any more.

        Doing it again with the same ticket is safe: the record knows the submission, and the agent recognises it.

        Args:
            request: what is wanted.
            ticket: what was decided about it.
            trace: the X-Ray header of the request.
            is_new: nobody has written this ticket before, so that it need not be looked for among what has ended.
            instead_of: tickets of the same request whose fate is not known. Each is withdrawn in the same write, unless
                it runs or has run after all: then that is what this sending is told of. One that was cancelled or
                has expired meanwhile stands for nothing: who sends the request after that wants it anew.
            anew: it is sent again, and accepted only if its task has ended.
            withdraw: what is done when the message cannot be published, instead of `withdraw` for the ticket; another
                sending of the same ticket may be under way, and only its owner knows.

        Raises:
            NotAcceptedError: AWS is out of reach.
            ApiError: 409, too many submissions of this task id are under way, or one is that is to be sent `anew`.
        """
        start_by = resolve(request.start_by, ticket.submitted_at)
        metadata = Metadata(
            id=ticket.task.id,
            tenant=ticket.task.tenant,
            runtime=request.runtime.name,
            tasktype=request.task_type,
            prefix=request.prefix,
            context=request.context,
            inputs=request.inputs,
            webhook=request.webhook,
            tags=dict(request.tags) or None,
            environment=request.environment,
            submission=ticket.submission,
            submitted_at=ticket.submitted_at,
            start_by=start_by,
            trace=trace,
        )
        # Beside the record and the message: whoever reads a list looks for the record of each of its lines.
        listed = self._lists.submitted(
            ticket.task,
            ticket.submission,
            runtime=request.runtime.name,
            tasktype=request.task_type,
            at=ticket.submitted_at,
        )
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                content = encode(request.content)
                message = await self._message(metadata, request, content)
                kept = await self._keep(request, ticket, content) if self._keep_requests else ""
                taken = await self._record(metadata, ticket, instead_of, kept, is_new=is_new, anew=anew)
        except UNAVAILABLE as error:
            _log.warning("cannot write the task", task_id=ticket.task_id, error=repr(error))
            raise NotAcceptedError(ticket.task_id, Fate.UNKNOWN if instead_of else Fate.NOT_ACCEPTED, error) from error
        if taken is not ticket:
            return self.accepted(request, taken)
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                if request.webhook is not None:
                    await self._webhooks.anchor(ticket.task, ticket.submission)
                if start_by is not None:
                    await self._deadlines.mark(Deadline(start_by, ticket.task, ticket.submission))
                await self._publish(message, request, ticket.task.tenant)
        except AWS_ERRORS as error:
            _log.warning("cannot publish the task", task_id=ticket.task_id, error=repr(error))
            fate = await (withdraw() if withdraw else self.withdraw(ticket))
            if fate is not None:
                raise NotAcceptedError(ticket.task_id, fate, error) from error
        await listed()
        return self.accepted(request, ticket)

    async def settle(self) -> None:
        """Withdraws, until cancelled, the submissions whose fate is not known, once AWS is back."""
        while True:
            await asyncio.sleep(_SETTLE_SECONDS)
            for _ in range(len(self._unsettled)):
                oldest = self._unsettled.take_oldest()
                if oldest is None:
                    break  # sent again meanwhile
                ticket, of = oldest
                try:
                    fate = await self.withdraw(ticket)
                except ValidationError:
                    _log.exception("record unreadable", task_id=ticket.task_id)
                    continue
                if fate is Fate.UNKNOWN:
                    self._unsettled.put_back(ticket, of)
                    break
                _log.info("unsettled submission settled", task_id=ticket.task_id, accepted=fate is None)

    async def _keep(self, request: TaskRequest, ticket: Ticket, content: bytes) -> str:
        """Returns what the record keeps of the request, after that has been put into S3 if it is too large for it."""
        inputs = request.inputs.model_dump(mode="json") if request.inputs else None
        if len(content) <= _THREAD_THRESHOLD:
            document = encode_request(request.content, content, inputs)
        else:
            document = await asyncio.to_thread(encode_request, request.content, content, inputs)
        kept = pack(document)
        if kept == ELSEWHERE:
            key = request_key(ticket.task, ticket.submission)
            try:
                await self._aws.s3.put_object(
                    Bucket=self._bucket, Key=key, Body=document, ContentType="application/json"
                )
            except AWS_ERRORS as error:
                _log.warning("cannot keep the request", task_id=ticket.task_id, error=repr(error))
                return ""
        return kept

    async def _message(self, metadata: Metadata, request: TaskRequest, content: bytes) -> str:
        """Returns the message, after its content has been put into S3 if it is too large for SNS."""
        room = INLINE_LIMIT + self._more_inline
        if len(content) <= room:
            message = encode_task_message(TaskMessage(metadata=metadata, content=request.content), content=content)
            if len(message) * 4 <= room or len(message.encode()) <= room:
                return message
        key = payload_key(metadata.ref, metadata.submission)
        await self._aws.s3.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType="application/json")
        return encode_task_message(TaskMessage(metadata=metadata, content_ref=s3_url(self._bucket, key)))

    async def _record(
        self,
        metadata: Metadata,
        ticket: Ticket,
        instead_of: Sequence[Ticket],
        kept: str,
        *,
        is_new: bool,
        anew: bool,
    ) -> Ticket:
        """Writes the submission into the record; returns its ticket, or the one of `instead_of` that runs already."""
        new = submission_of(metadata, submitted_at=ticket.submitted_at)

        def transition(record: Record | None) -> Record:
            for earlier in instead_of:
                if record is not None and record.find(earlier.submission) is not None:
                    record = _withdrawn(record, earlier)
            if record is not None and _taken(record, instead_of) is not None:
                return record
            if anew:
                _check_ended(record, ticket)
            return submit(record, ticket.task, new, request=kept)

        try:
            stored = await self._store.change(
                ticket.task,
                transition,
                expect_absent=not instead_of and not anew,
                about="" if is_new else ticket.submission,
            )
        except TooManyUnfinishedError as error:
            raise ApiError(409, "too_many_submissions", str(error), details={"id": ticket.task_id}) from error
        return _taken(stored.record, instead_of) or ticket

    async def _publish(self, message: str, request: TaskRequest, tenant: str) -> None:
        attributes = message_attributes(self._config, request.runtime, request.checkpoint)
        await self._tasks.publish(message, attributes, tenant=tenant)

    async def withdraw(self, ticket: Ticket) -> Fate | None:
        """Ends a submission whose publishing failed; returns None when it is accepted all the same.

        An answer that was lost looks like a failure. An agent that has the task in its hands is the better witness. One
        that was cancelled meanwhile has ended as a submission should, once it has been called back for: no agent does,
        since most likely no message is there.
        """
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                stored = await self._store.change(
                    ticket.task, lambda record: _withdrawn(record, ticket), about=ticket.submission
                )
        except UnknownSubmissionError:
            return Fate.NOT_ACCEPTED
        except UNAVAILABLE as failure:
            _log.warning("cannot note that the task was not accepted", task_id=ticket.task_id, error=repr(failure))
            return Fate.UNKNOWN
        found = stored.record.find(ticket.submission)
        if found is not None and is_not_accepted(found):
            self._lists.unsuccessful(ticket.task, found)
        if found is not None and found.ended_unstarted_by_cancel:
            return None if await self._callbacks.send(ticket.task, found) else Fate.NOT_ACCEPTED
        return None if found is not None and _has_begun(found) else Fate.NOT_ACCEPTED


def not_ended(submission: Submission, task_id: str) -> ApiError:
    """Returns the 409 for a task that cannot be sent again yet."""
    return ApiError(
        409,
        "not_ended",
        f"the task is {submission.status}; it can be sent again once it has ended (DELETE cancels it)",
        details={"id": task_id, "status": submission.status},
    )


def _check_ended(record: Record | None, ticket: Ticket) -> None:
    """Checks that a task has ended, unless it runs by this very ticket.

    Raises:
        ApiError: 409, it has not; 404, there is none.
    """
    if record is None:
        raise unknown_task(ticket.task_id)
    if record.find(ticket.submission) is None and not record.current.status.terminal:
        raise not_ended(record.current, ticket.task_id)


def _withdrawn(record: Record | None, ticket: Ticket) -> Record:
    """Returns the record in which a submission that waits has ended, and in which nobody is to be called back for it.

    Raises:
        UnknownSubmissionError: the record was never written.
    """
    found = record.find(ticket.submission) if record else None
    if record is not None and found is not None and found.status is not Status.QUEUED:
        return record
    error = Failure(code=NOT_ACCEPTED, message="the task could not be queued, and its sender was told so")
    ended = end_unstarted(record, ticket.submission, status=Status.FAILED, now=datetime.now(UTC), error=error)
    return note_callback(ended, ticket.submission)


def _taken(record: Record, tickets: Sequence[Ticket]) -> Ticket | None:
    """Returns the first of several tickets that an agent has begun with, neither cancelled nor too late."""
    for ticket in tickets:
        found = record.find(ticket.submission)
        if found is not None and _has_begun(found) and found.status not in _FOR_NOTHING:
            return ticket
    return None


def _has_begun(submission: Submission) -> bool:
    """Tells whether a submission has reached an agent, as far as its record tells."""
    return submission.status is not Status.QUEUED and not is_not_accepted(submission)

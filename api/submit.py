"""Accepts a task: record first, then the message, then the answer; what was answered with success is never lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
import structlog

from api.aws import AWS_ERRORS, UNAVAILABLE, Aws
from api.errors import ApiError, UnavailableError
from api.requests import TaskRequest
from contract.config import Config
from contract.identifiers import new_ulid
from contract.objects import output_prefix, payload_key, s3_url
from contract.record import (
    Failure,
    Record,
    Status,
    Submission,
    TooManyUnfinishedError,
    TransitionError,
    end_unstarted,
    submit,
)
from contract.store import RecordStore
from contract.task import INLINE_LIMIT, Metadata, TaskMessage, encode_task_message
from contract.topology import message_attributes, string_attributes

NOT_ACCEPTED: Final = "not_accepted"
"""The error code of a submission whose message could not be published; its client was told 503."""

_STEP_SECONDS: Final = 12
"""For each step; AWS's own retries happen within."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is decided about a request before anything is written; writing it twice changes nothing."""

    task_id: str
    submission: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class Accepted:
    """A task that is on its way."""

    request: TaskRequest
    ticket: Ticket
    output_location: str


def new_ticket(request: TaskRequest) -> Ticket:
    """Returns a ticket for a new submission."""
    return Ticket(request.task_id or new_ulid(), new_ulid(), datetime.now(UTC))


class Acceptance:
    """Writes and publishes tasks."""

    def __init__(self, *, aws: Aws, store: RecordStore, config: Config, bucket: str, topic_arn: str) -> None:
        self._aws = aws
        self._store = store
        self._config = config
        self._bucket = bucket
        self._topic_arn = topic_arn

    def accepted(self, request: TaskRequest, ticket: Ticket) -> Accepted:
        """Returns what is answered for a task that is on its way."""
        location = s3_url(self._bucket, output_prefix(request.prefix, ticket.task_id))
        return Accepted(request, ticket, location)

    async def accept(self, request: TaskRequest, ticket: Ticket, *, trace: str) -> Accepted:
        """Puts a task on its way, and returns once it cannot be lost any more.

        Doing it again with the same ticket is safe: the record knows the submission, and the agent recognises it.

        Raises:
            UnavailableError: AWS is out of reach; the task was not accepted, and its record (if any) says so.
            ApiError: 409, too many submissions of this task id are under way.
        """
        metadata = Metadata(
            id=ticket.task_id,
            runtime=request.runtime.name,
            tasktype=request.task_type,
            prefix=request.prefix,
            context=request.context,
            submission=ticket.submission,
            submitted_at=ticket.submitted_at,
            trace=trace,
        )
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                message = await self._message(metadata, request)
                await self._record(request, ticket)
        except UNAVAILABLE as error:
            _log.warning("cannot write the task", task_id=ticket.task_id, error=repr(error))
            raise UnavailableError("the task could not be stored; try again") from error
        try:
            async with asyncio.timeout(_STEP_SECONDS):
                await self._publish(message, request)
        except AWS_ERRORS as error:
            _log.warning("cannot publish the task", task_id=ticket.task_id, error=repr(error))
            if not await self._withdraw(ticket):
                raise UnavailableError("the task could not be queued; try again") from error
        return self.accepted(request, ticket)

    async def _message(self, metadata: Metadata, request: TaskRequest) -> str:
        """Returns the message, after its content has been put into S3 if it is too large for SNS."""
        content = orjson.dumps(request.content)
        if len(content) <= INLINE_LIMIT:
            message = encode_task_message(TaskMessage(metadata=metadata, content=request.content))
            if len(message) * 4 <= INLINE_LIMIT or len(message.encode()) <= INLINE_LIMIT:
                return message
        key = payload_key(metadata.id, metadata.submission)
        await self._aws.s3.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType="application/json")
        return encode_task_message(TaskMessage(metadata=metadata, content_ref=s3_url(self._bucket, key)))

    async def _record(self, request: TaskRequest, ticket: Ticket) -> None:
        new = Submission(
            submission=ticket.submission,
            runtime=request.runtime.name,
            tasktype=request.task_type,
            prefix=request.prefix,
            context=request.context,
            submitted_at=ticket.submitted_at,
        )
        try:
            await self._store.change(
                ticket.task_id, lambda record: submit(record, ticket.task_id, new), expect_absent=True
            )
        except TooManyUnfinishedError as error:
            raise ApiError(409, "too_many_submissions", str(error), details={"id": ticket.task_id}) from error

    async def _publish(self, message: str, request: TaskRequest) -> None:
        attributes = message_attributes(self._config, request.runtime, request.checkpoint)
        await self._aws.sns.publish(
            TopicArn=self._topic_arn,
            Message=message,
            MessageAttributes=string_attributes(attributes),
        )

    async def _withdraw(self, ticket: Ticket) -> bool:
        """Ends a submission whose publishing failed; returns True when it turns out to have arrived after all.

        An answer that was lost looks like a failure. An agent that has the task in its hands is the better witness.
        """
        error = Failure(code=NOT_ACCEPTED, message="the task could not be queued, and its sender was told so")

        def transition(record: Record | None) -> Record:
            found = record.find(ticket.submission) if record else None
            if record and found and found.status is not Status.QUEUED:
                return record
            return end_unstarted(record, ticket.submission, status=Status.FAILED, now=datetime.now(UTC), error=error)

        try:
            async with asyncio.timeout(_STEP_SECONDS):
                stored = await self._store.change(ticket.task_id, transition)
        except (*UNAVAILABLE, TransitionError) as failure:
            _log.warning("cannot note that the task was not accepted", task_id=ticket.task_id, error=repr(failure))
            return False
        found = stored.record.find(ticket.submission)
        return found is not None and not is_not_accepted(found)


def is_not_accepted(submission: Submission) -> bool:
    """Tells whether a submission ended because it could not be published."""
    return submission.error is not None and submission.error.code == NOT_ACCEPTED

"""Answers for tasks: what a record looks like from outside, and what cancelling one means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from api.aws import UNAVAILABLE, Aws
from api.errors import ApiError, UnavailableError, unknown_task
from api.links import Links
from contract.callback import callback_attributes, callback_for, encode_callback
from contract.identifiers import check_task_id
from contract.objects import output_prefix, s3_url
from contract.publications import Publications
from contract.record import (
    AlreadyEndedError,
    Record,
    Status,
    Submission,
    UnknownSubmissionError,
    note_callback,
    request_cancel,
)
from contract.store import RecordStore

_SECONDS: Final = 12
"""For one request's calls to AWS."""

_PUBLISHING: Final = 2
"""Calls to SNS at once."""

_log = structlog.get_logger(__name__)

TASK_STATUS: Final = {
    Status.QUEUED: "waiting",
    Status.RUNNING: "running",
    Status.CANCELLING: "running",
    Status.SUCCEEDED: "finished",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
}
"""The words of `GET /task` for the states of a record."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a cancel."""

    record: Record
    at_once: bool
    """It had not begun and will not; otherwise its agent was asked to stop it."""


class Tasks:
    """Reads and cancels tasks."""

    def __init__(self, *, aws: Aws, store: RecordStore, links: Links, bucket: str, callback_topic_arn: str) -> None:
        self._aws = aws
        self._store = store
        self._links = links
        self._bucket = bucket
        self._callbacks = Publications(aws.sns, callback_topic_arn, seconds=_SECONDS, parallel=_PUBLISHING)

    async def read(self, task_id: str) -> Record:
        """Returns a task's record.

        Raises:
            ApiError: 404, there is none.
            UnavailableError: S3 is out of reach.
        """
        _check_id(task_id)
        try:
            async with asyncio.timeout(_SECONDS):
                stored = await self._store.read(task_id)
        except UNAVAILABLE as error:
            _log.warning("cannot read the record", task_id=task_id, error=repr(error))
            raise UnavailableError("the task's record could not be read; try again") from error
        if stored is None:
            raise unknown_task(task_id)
        return stored.record

    async def cancel(self, task_id: str) -> Cancelled:
        """Asks a task's newest submission to stop. One that had not begun has ended when this returns.

        Raises:
            ApiError: 404, there is no such task; 409, it has ended.
            UnavailableError: S3 is out of reach.
        """
        _check_id(task_id)
        try:
            async with asyncio.timeout(_SECONDS):
                stored = await self._store.change(task_id, lambda record: request_cancel(record, now=datetime.now(UTC)))
        except UnknownSubmissionError as error:
            raise unknown_task(task_id) from error
        except AlreadyEndedError as error:
            status = error.submission.status if error.submission else None
            raise ApiError(
                409, "already_ended", f"the task has already ended: it is {status}", details={"status": status}
            ) from error
        except UNAVAILABLE as error:
            _log.warning("cannot cancel the task", task_id=task_id, error=repr(error))
            raise UnavailableError("the cancel could not be stored; try again") from error
        at_once = stored.record.current.status is Status.CANCELLED
        if at_once:
            await self._call_back(task_id, stored.record.current)
        return Cancelled(stored.record, at_once)

    async def _call_back(self, task_id: str, submission: Submission) -> None:
        """Publishes the callback of a task that was cancelled before it ran.

        When this fails, the agent that receives the task finds no callback noted and publishes it then.
        """
        callback = callback_for(task_id, submission)
        try:
            async with asyncio.timeout(_SECONDS):
                await self._callbacks.publish(encode_callback(callback), callback_attributes(callback, submission))
                await self._store.change(task_id, lambda record: note_callback(record, submission.submission))
        except (*UNAVAILABLE, UnknownSubmissionError) as error:
            _log.warning("cannot call back for the cancelled task", task_id=task_id, error=repr(error))

    async def view(self, record: Record) -> dict[str, Any]:
        """Returns what `GET /v1/tasks/{id}` answers."""
        current = record.current
        return {
            "id": record.id,
            "status": current.status,
            "runtime": current.runtime,
            "tasktype": current.tasktype,
            "submission": current.submission,
            "submitted_at": current.submitted_at,
            "started_at": current.started_at,
            "finished_at": current.finished_at,
            "attempts": current.attempts,
            "progress": current.progress,
            "output_location": s3_url(self._bucket, output_prefix(current.prefix, record.id)),
            "images": [{"url": await self._links.link(address), "s3": address} for address in current.image_url],
            "output": (
                {"url": await self._links.link(current.output_url), "s3": current.output_url}
                if current.output_url
                else None
            ),
            "error": current.error.model_dump() if current.error else None,
            "warnings": current.warnings,
            "context": current.context,
            "timings": current.timings.model_dump() if current.timings else None,
            "dead_lettered": current.dead_lettered,
        }

    async def task_view(self, record: Record) -> dict[str, Any]:
        """Returns what `GET /task` answers."""
        current = record.current
        return {
            "taskId": record.id,
            "taskStatus": TASK_STATUS[current.status],
            "submitTime": current.submitted_at,
            "processTime": current.started_at,
            "processRes": {
                "cnt": len(current.image_url),
                "images": [await self._links.link(address) for address in current.image_url],
                "error": current.error.message if current.error else "",
            },
        }


def _check_id(task_id: str) -> None:
    try:
        check_task_id(task_id)
    except ValueError as error:
        # No task can have this id, so there is none.
        raise unknown_task(task_id) from error

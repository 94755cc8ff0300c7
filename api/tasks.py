"""Answers for tasks: what a record looks like from outside, and what cancelling one means."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from api.aws import UNAVAILABLE
from api.callbacks import Callbacks
from api.errors import ApiError, UnavailableError, unknown_task
from api.links import task_links
from contract.identifiers import TaskRef, check_task_id, check_tenant_if_any
from contract.links import Links
from contract.record import (
    AlreadyEndedError,
    Record,
    Status,
    UnknownSubmissionError,
    request_cancel,
)
from contract.store import RecordStore
from contract.view import view_of

_SECONDS: Final = 12
"""For one request's calls to AWS."""

SHOWN_IMAGES: Final = 20
"""Of a task in a list."""

_log = structlog.get_logger(__name__)

TASK_STATUS: Final = {
    Status.QUEUED: "waiting",
    Status.RUNNING: "running",
    Status.CANCELLING: "running",
    Status.SUCCEEDED: "finished",
    Status.FAILED: "failed",
    Status.CANCELLED: "failed",
    Status.EXPIRED: "failed",
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

    def __init__(
        self, *, store: RecordStore, callbacks: Callbacks, links: Links, bucket: str, root_path: str = ""
    ) -> None:
        self._store = store
        self._callbacks = callbacks
        self._links = links
        self._bucket = bucket
        self._root_path = root_path

    async def read(self, task: TaskRef) -> Record:
        """Returns a task's record.

        Raises:
            ApiError: 404, there is none.
            UnavailableError: S3 is out of reach.
        """
        _check(task)
        try:
            async with asyncio.timeout(_SECONDS):
                stored = await self._store.read(task)
        except UNAVAILABLE as error:
            _log.warning("cannot read the record", task_id=task.id, error=repr(error))
            raise UnavailableError("the task's record could not be read; try again") from error
        if stored is None:
            raise unknown_task(task.id)
        return stored.record

    async def cancel(self, task: TaskRef) -> Cancelled:
        """Asks a task's newest submission to stop. One that had not begun has ended when this returns, with a callback.

        Its message may never have gone out, so no agent can be counted on to call back: only a callback that SNS has
        taken makes the cancel a success. Asked again, it is tried again.

        Raises:
            ApiError: 404, there is no such task; 409, it has ended.
            UnavailableError: S3 or SNS is out of reach.
        """
        _check(task)
        try:
            async with asyncio.timeout(_SECONDS):
                stored = await self._store.change(task, lambda record: _cancelled(record, datetime.now(UTC)))
        except UnknownSubmissionError as error:
            raise unknown_task(task.id) from error
        except AlreadyEndedError as error:
            status = error.submission.status if error.submission else None
            raise ApiError(
                409, "already_ended", f"the task has already ended: it is {status}", details={"status": status}
            ) from error
        except UNAVAILABLE as error:
            _log.warning("cannot cancel the task", task_id=task.id, error=repr(error))
            raise UnavailableError("the cancel could not be stored; try again") from error
        current = stored.record.current
        at_once = current.status is Status.CANCELLED
        if at_once and not await self._callbacks.send(task, current):
            raise UnavailableError(
                "the task is cancelled and will not run, but its callback could not be sent yet; cancel it again to "
                "be sure of it",
                details={"id": task.id, "status": current.status},
            )
        return Cancelled(stored.record, at_once)

    async def view(self, record: Record, *, tenant: str | None = None) -> dict[str, Any]:
        """Returns what `GET /v1/tasks/{id}` answers.

        Args:
            record: its newest submission is shown.
            tenant: whose it is, where an admin looks at another tenant's.
        """
        view = await view_of(record.ref, record.current, bucket=self._bucket, links=self._links)
        webhook = record.current.webhook
        return {
            **view,
            "webhook": webhook.shown if webhook else None,
            "links": task_links(self._root_path, record.id, tenant=tenant),
        }

    async def listed(self, record: Record, *, tenant: str | None = None) -> dict[str, Any]:
        """Returns what a list shows of a task: its view without the context, and with its first images alone."""
        images = record.current.image_url
        if len(images) > SHOWN_IMAGES:
            current = record.current.model_copy(update={"image_url": images[:SHOWN_IMAGES]})
            record = record.model_copy(update={"current": current})
        view = await self.view(record, tenant=tenant)
        del view["context"]
        return {**view, "image_count": len(images)}

    async def submissions(self, record: Record, *, tenant: str | None = None) -> list[dict[str, Any]]:
        """Returns what is shown of all submissions that a record knows, the newest first."""
        newest = sorted(record.submissions().values(), key=lambda item: (item.submitted_at, item.submission))[::-1]
        return [
            await self.view(record.model_copy(update={"current": submission}), tenant=tenant) for submission in newest
        ]

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
                "images": await self._links.links(current.image_url),
                "error": current.error.message if current.error else "",
            },
        }


def _cancelled(record: Record | None, now: datetime) -> Record:
    """Returns the record of a task that was asked to stop; unchanged when only its callback is not known to be out.

    Raises:
        AlreadyEndedError, UnknownSubmissionError: as `request_cancel`.
    """
    if record is not None and record.current.ended_unstarted_by_cancel and not record.current.callback_sent:
        return record
    return request_cancel(record, now=now)


def _check(task: TaskRef) -> None:
    try:
        check_task_id(task.id)
        check_tenant_if_any(task.tenant)
    except ValueError as error:
        # No task can be named so, so there is none.
        raise unknown_task(task.id) from error

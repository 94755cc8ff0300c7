"""What a task looks like as a job. Pure.

The shapes are `Job`, `Progress` and `JobError` of `comfy-sdk` 0.5.0 (`comfy_low/models/_generated.py`), and a list's
items are what its `JobSummary` reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from api.comfy_v2.labels import labels_of
from contract.record import Record, Submission
from contract.topology import RECORD_DAYS

STATUSES: Final[Mapping[str, str]] = {
    "queued": "queued",
    "running": "running",
    "cancelling": "canceling",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
    "expired": "expired",
}
"""v2's words for the states of a record."""

_EXPIRED: Final = "expired"
"""The error code of a task that nobody brought to an end in time, which v2 has a state for."""


def status_of(submission: Submission) -> str:
    """Returns how a job stands."""
    if submission.error is not None and submission.error.code == _EXPIRED:
        return _EXPIRED
    return STATUSES[submission.status.value]


def progress_of(submission: Submission) -> dict[str, Any] | None:
    """Returns how far a job is; None while it does not run. Nodes are not counted: their numbers are 0."""
    if status_of(submission) not in {"running", "canceling"}:
        return None
    return {"value": submission.progress or 0.0, "nodes_done": 0, "nodes_total": 0}


def job_of(record: Record, *, outputs: Sequence[Mapping[str, Any]], urls: Mapping[str, str]) -> dict[str, Any]:
    """Returns a task's newest submission as a job.

    Args:
        record: of the task.
        outputs: as `api.comfy_v2.outputs` has them.
        urls: where to go on with it.
    """
    current = record.current
    error = current.error
    return {
        "id": record.id,
        "status": status_of(current),
        "created_at": current.submitted_at,
        "started_at": current.started_at,
        "completed_at": current.finished_at,
        "expires_at": current.submitted_at + timedelta(days=RECORD_DAYS),
        "queue_position": None,
        "progress": progress_of(current),
        "outputs": list(outputs),
        "error": {"code": error.code, "message": error.message} if error is not None else None,
        "metrics": _metrics(current),
        "metadata": labels_of(current.context),
        "urls": dict(urls),
    }


def summary_of(record: Record) -> dict[str, Any]:
    """Returns a task as an item of the list of jobs."""
    current = record.current
    return {
        "id": record.id,
        "status": status_of(current),
        "create_time": current.submitted_at,
        "update_time": current.finished_at or current.started_at or current.submitted_at,
        "deployment_id": current.runtime,
        "metadata": labels_of(current.context),
    }


def _metrics(submission: Submission) -> dict[str, int | None]:
    timings = submission.timings
    return {
        "queue_ms": _milliseconds(timings.queued if timings else None),
        "execution_ms": _milliseconds(timings.generation if timings else None),
    }


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)

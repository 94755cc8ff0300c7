"""What a task looks like from outside: the answer of `GET /v1/tasks/{id}`, and the data of a webhook."""

from __future__ import annotations

from typing import Any

from contract.identifiers import TaskRef
from contract.links import Links
from contract.objects import output_prefix, s3_url
from contract.record import Submission


async def view_of(task: TaskRef, submission: Submission, *, bucket: str, links: Links) -> dict[str, Any]:
    """Returns one submission of a task as its owner sees it, with links to its results.

    Args:
        task: whose.
        submission: which.
        bucket: the output bucket.
        links: makes the links.
    """
    return {
        "id": task.id,
        "tenant": task.tenant,
        "status": submission.status,
        "runtime": submission.runtime,
        "tasktype": submission.tasktype,
        "submission": submission.submission,
        "submitted_at": submission.submitted_at,
        "start_by": submission.start_by,
        "started_at": submission.started_at,
        "finished_at": submission.finished_at,
        "attempts": submission.attempts,
        "fake": submission.fake,
        "environment": submission.environment or None,
        "progress": submission.progress,
        "output_location": s3_url(bucket, output_prefix(submission.prefix, task)),
        "images": [
            {"url": url, "s3": address}
            for url, address in zip(await links.links(submission.image_url), submission.image_url, strict=True)
        ],
        "output": (
            {"url": (await links.links([submission.output_url]))[0], "s3": submission.output_url}
            if submission.output_url
            else None
        ),
        "error": submission.error.model_dump() if submission.error else None,
        "warnings": submission.warnings,
        "context": submission.context,
        "tags": submission.tags,
        "timings": submission.timings.model_dump() if submission.timings else None,
        "cost": submission.cost.model_dump() if submission.cost else None,
        "dead_lettered": submission.dead_lettered,
        "callback_error": submission.callback_error.model_dump() if submission.callback_error else None,
    }

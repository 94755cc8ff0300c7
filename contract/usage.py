"""The usage of GPUs: a line for each task that has used some, in logs that are read day by day.

A tenant has one log for each day (UTC) and process that ended tasks on it:

    .usage/{tenant}/days/{day}/{process}/head.json, 00000000.json, …

So no two processes write one object, and nothing waits for a race; `contract.task_log` says how a log grows. The days
of a span are listed, never the tasks: 128 lines and more lie in one object. A line follows from the record of a task
that has ended. Two processes that settle one task, since the first has died over it, both add it: it counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson

from contract.identifiers import TaskRef
from contract.objects import USAGE, tenant_folder
from contract.record import Submission
from contract.task_log import Segment, moment

_NAME: Final = "days"


class Used(NamedTuple):
    """One line."""

    at: str
    """When the task has ended, as `contract.task_log.moment` writes it."""
    submission: str
    id: str
    runtime: str
    gpu_seconds: float
    usd: float | None
    """None: not known."""
    tags: dict[str, str]

    @property
    def names(self) -> tuple[str, str]:
        """Which task's which submission: equal in lines that count once."""
        return self.id, self.submission


def log_of(ended: Submission, process: str) -> str:
    """Returns the name of the log in which a process writes the line of a submission."""
    return f"{_NAME}/{_at(ended).astimezone(UTC):%Y-%m-%d}/{process}"


def used_line(task: TaskRef, ended: Submission) -> bytes:
    """Returns the line of a submission that has ended, and has a cost.

    Raises:
        ValueError: it has none.
    """
    if ended.cost is None:
        raise ValueError(f"submission {ended.submission} has no cost")
    cost = ended.cost
    return orjson.dumps(
        [moment(_at(ended)), ended.submission, task.id, ended.runtime, cost.gpu_seconds, cost.usd, ended.tags],
        option=orjson.OPT_SORT_KEYS,
    )


def lines_of(segment: Segment) -> list[Used]:
    """Returns what a segment says; what a newer version has added to its lines is left out."""
    known = len(Used._fields)
    return [Used(*orjson.loads(line)[:known]) for line in segment.lines]


def usage_folder(tenant: str) -> str:
    """Returns the folder of a tenant's logs, with a trailing slash."""
    return f"{USAGE}{tenant_folder(tenant)}{_NAME}/"


def logs_among(keys: Iterable[str], tenant: str, *, first: str, last: str) -> set[str]:
    """Returns the names of the logs of some days that have one of these keys.

    Args:
        keys: of a listing of `usage_folder`.
        tenant: whose.
        first: the first day, such as 2026-01-31.
        last: the last one.
    """
    folder = usage_folder(tenant)
    found = set()
    for key in keys:
        match key.removeprefix(folder).split("/"):
            case [day, process, _] if first <= day <= last and len(day) == len(first):
                found.add(f"{_NAME}/{day}/{process}")
    return found


def _at(ended: Submission) -> datetime:
    return ended.finished_at or ended.submitted_at

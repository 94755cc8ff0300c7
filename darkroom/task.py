"""A task as the API shows it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Self

from darkroom.errors import DarkroomError

TERMINAL: Final = frozenset({"succeeded", "failed", "cancelled", "expired"})
"""The states that are ends."""

_SAFE_NAME: Final = re.compile(r"[^\w.\- ]", re.ASCII)


class TaskFailedError(DarkroomError):
    """A task that ended otherwise than with success; the text says how."""


@dataclass(frozen=True, slots=True)
class Result:
    """A file that a task has made."""

    url: str
    """Works for an hour or so (`PRESIGNED_SECONDS`)."""
    s3: str

    @property
    def name(self) -> str:
        """Under which it is saved."""
        return _SAFE_NAME.sub("_", self.s3.rpartition("/")[2]).lstrip(".") or "image"


@dataclass(frozen=True, slots=True)
class Task:
    """How a task stands: its newest submission."""

    id: str
    status: str
    """queued, running, cancelling, succeeded, failed, cancelled or expired."""
    runtime: str
    tasktype: str
    submission: str
    submitted_at: datetime
    progress: float | None = None
    """0 to 1; None: not known."""
    attempts: int = 0
    images: tuple[Result, ...] = ()
    error: str = ""
    """Why it failed, with its code in brackets."""
    output_location: str = ""
    view: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """All that the API has told, as `GET /v1/tasks/{id}` has it."""

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in TERMINAL

    @property
    def succeeded(self) -> bool:
        """Whether it has ended, and with success."""
        return self.status == "succeeded"

    def must_succeed(self) -> Self:
        """Returns the task.

        Raises:
            TaskFailedError: it has not ended with success.
        """
        if not self.succeeded:
            raise TaskFailedError(f"{self.id} {self.status}" + (f": {self.error}" if self.error else ""))
        return self

    @classmethod
    def from_view(cls, view: dict[str, Any]) -> Self:
        """Reads what the API answers."""
        error = view.get("error") or {}
        return cls(
            id=view["id"],
            status=view["status"],
            runtime=view.get("runtime", ""),
            tasktype=view.get("tasktype", ""),
            submission=view.get("submission", ""),
            submitted_at=datetime.fromisoformat(view["submitted_at"]),
            progress=view.get("progress"),
            attempts=view.get("attempts") or 0,
            images=tuple(Result(item["url"], item["s3"]) for item in view.get("images") or ()),
            error=f"{error['message']} ({error['code']})" if error else "",
            output_location=view.get("output_location", ""),
            view=view,
        )

"""One task of a load as the test saw it, and the book in which each process keeps its own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from contract.costs import Cost
from contract.record import Status, Submission
from loadtest.mix import Work


class Answer(StrEnum):
    """What the API said to a submission."""

    ACCEPTED = "accepted"
    THROTTLED = "throttled"
    REFUSED = "refused"
    """Any other status."""
    UNKNOWN = "unknown"
    """No answer: the task may have been accepted or not."""


class Heard(BaseModel):
    """One callback, or what polling and events told in its place."""

    model_config = ConfigDict(frozen=True)

    at: float
    """When it arrived, by the test's clock."""
    result: bool
    digest: str
    """Equal for equal contents."""


class Seen(BaseModel):
    """What a task's record says about its submission; times by the clocks of API and agent."""

    model_config = ConfigDict(frozen=True)

    status: Status
    submitted_at: float
    started_at: float | None = None
    finished_at: float | None = None
    agent: str = ""
    """The agent process that ended it."""
    attempts: int = 0
    excused: int = 0
    inputs: float | None = None
    generation: float | None = None
    upload: float | None = None
    images: int = 0
    error: str = ""
    cost: Cost | None = None
    """None: the agents know of no price."""

    @classmethod
    def of(cls, submission: Submission) -> Seen:
        """Returns what matters of a record's submission."""
        timings = submission.timings
        return cls(
            status=submission.status,
            submitted_at=submission.submitted_at.timestamp(),
            started_at=_stamp(submission.started_at),
            finished_at=_stamp(submission.finished_at),
            agent=(submission.holder or "").rpartition("/")[0],
            attempts=submission.attempts,
            excused=submission.excused,
            inputs=timings.inputs if timings else None,
            generation=timings.generation if timings else None,
            upload=timings.upload if timings else None,
            images=len(submission.image_url),
            error=submission.error.message if submission.error else "",
            cost=submission.cost,
        )


def _stamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


class Task(BaseModel):
    """One submission. All times are seconds since the epoch by the test's clock, unless they say otherwise."""

    id: str
    runtime: str
    tasktype: str
    tenant: str = ""
    """The name of the API key that sent it; empty: there is one alone."""
    due_at: float
    """When the load wanted it sent."""
    sent_at: float
    answered_at: float | None = None
    status: int = 0
    """Of HTTP; 0: no answer."""
    answer: Answer = Answer.UNKNOWN
    problem: str = ""
    heard: list[Heard] = []
    seen: Seen | None = None

    @property
    def ended_at(self) -> float | None:
        """When its first callback arrived."""
        return self.heard[0].at if self.heard else None

    @property
    def end_to_end(self) -> float | None:
        """Seconds from when it was due to its first callback; by one clock, so no skew is in it."""
        return None if not self.heard else self.heard[0].at - self.due_at

    @property
    def lost(self) -> bool:
        """Whether it was accepted and nobody has heard of its end."""
        return self.answer is Answer.ACCEPTED and not self.heard

    @property
    def contradicted(self) -> bool:
        """Whether two of its callbacks say different things."""
        return len({item.digest for item in self.heard}) > 1


class Book:
    """The tasks of one process, by id, and what of them has not been reported yet."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._changed: set[str] = set()
        self._under_way: dict[str, Task] = {}
        self.arrived = self.accepted = self.ended = self.throttled = self.refused = 0

    def send(self, work: Work, task_id: str, *, due_at: float, now: float, tenant: str = "") -> Task:
        """Opens a page for a task that is sent now."""
        task = Task(
            id=task_id,
            runtime=work.runtime,
            tasktype=work.tasktype.value,
            tenant=tenant,
            due_at=due_at,
            sent_at=now,
        )
        self._tasks[task_id] = self._under_way[task_id] = task
        self._changed.add(task_id)
        self.arrived += 1
        return task

    def answered(self, task: Task, *, status: int, now: float, problem: str = "") -> None:
        """Notes the API's answer; status 0 stands for none."""
        task.status, task.problem = status, problem
        task.answered_at = now if status else None
        if status in {200, 202}:
            task.answer = Answer.ACCEPTED
            self.accepted += 1
        elif status == 429:
            task.answer = Answer.THROTTLED
            self.throttled += 1
        else:
            task.answer = Answer.REFUSED if status else Answer.UNKNOWN
            self.refused += 1
        if task.answer in {Answer.THROTTLED, Answer.REFUSED}:
            self._under_way.pop(task.id, None)
        self._changed.add(task.id)

    def hear(self, task_id: str, heard: Heard) -> Task | None:
        """Notes a callback; returns its task when this is the first one, None when it is known or not ours."""
        task = self._tasks.get(task_id)
        if task is None:
            return None
        task.heard.append(heard)
        self._changed.add(task_id)
        if len(task.heard) > 1:
            return None
        self.ended += 1
        self._under_way.pop(task_id, None)
        return task

    def see(self, task: Task, seen: Seen) -> None:
        """Notes what a task's record says."""
        task.seen = seen
        self._changed.add(task.id)

    def under_way(self) -> list[Task]:
        """Returns the tasks that were accepted, or may have been, and have not ended."""
        return list(self._under_way.values())

    def changes(self) -> list[Task]:
        """Returns every task that has changed since this was last asked."""
        found = [self._tasks[task_id] for task_id in self._changed]
        self._changed.clear()
        return found

    def untold(self, tasks: Iterable[Task]) -> None:
        """Takes back that changes were asked for: they could not be told."""
        self._changed.update(task.id for task in tasks)

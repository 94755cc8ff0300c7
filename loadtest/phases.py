"""The phases of a task, from three clocks (the test's, the API's, each agent's) that need not agree.

A clock is corrected only when the order of events proves it wrong, and then by the least that makes it right: what
happened must not have been seen before it happened. A submission is stamped by the API after the test has sent it and
before the test has the answer (F. Cristian: Probabilistic clock synchronization, 1989), an agent starts a task after
its submission, and ends it before the callback arrives. What an agent measures by itself (inputs, generation, upload)
needs no correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from loadtest.tasks import Answer, Task


class Phase(StrEnum):
    """A part of a task's way."""

    ACCEPT = "accept"
    QUEUE = "queue wait"
    INPUTS = "inputs"
    GENERATION = "generation"
    UPLOAD = "upload"
    CALLBACK = "callback"
    END_TO_END = "end to end"


@dataclass(slots=True)
class Bounds:
    """What the order of events allows a clock to be ahead of the test's, in seconds."""

    lower: float = -math.inf
    upper: float = math.inf

    def not_less_than(self, value: float) -> None:
        """Narrows from below."""
        self.lower = max(self.lower, value)

    def not_more_than(self, value: float) -> None:
        """Narrows from above."""
        self.upper = min(self.upper, value)

    @property
    def offset(self) -> float:
        """The least correction; between the bounds when they cross, as those of a drifting clock do."""
        if self.lower > self.upper:
            return (self.lower + self.upper) / 2
        return min(max(0.0, self.lower), self.upper)


@dataclass
class Clocks:
    """How far the clocks of API and agents are ahead of the test's; learns from every task it is shown."""

    api: Bounds = field(default_factory=Bounds)
    agents: dict[str, Bounds] = field(default_factory=dict)

    def learn(self, task: Task) -> None:
        """Narrows the bounds by what one task shows."""
        seen = task.seen
        if seen is None or task.answer is not Answer.ACCEPTED or task.answered_at is None:
            return
        self.api.not_more_than(seen.submitted_at - task.sent_at)
        self.api.not_less_than(seen.submitted_at - task.answered_at)
        if not seen.agent:
            return
        agent = self.agents.setdefault(seen.agent, Bounds())
        if seen.started_at is not None:
            agent.not_more_than(seen.started_at - task.sent_at)
        if seen.finished_at is not None and task.heard:
            agent.not_less_than(seen.finished_at - task.heard[0].at)

    def agent(self, name: str) -> float:
        """Returns how far an agent's clock is ahead; 0 for one that nothing is known of."""
        known = self.agents.get(name)
        return known.offset if known else 0.0


def learnt(tasks: Iterable[Task]) -> Clocks:
    """Returns what all tasks together show about the clocks."""
    clocks = Clocks()
    for task in tasks:
        clocks.learn(task)
    return clocks


@dataclass(frozen=True, slots=True)
class Span:
    """When a phase was, in seconds since the epoch by the test's clock."""

    begin: float
    seconds: float


def phases(task: Task, clocks: Clocks) -> dict[Phase, Span]:
    """Returns the phases of a task that are known, none of them negative.

    Args:
        task: with whatever is known of it.
        clocks: as learnt so far; the more tasks, the better.
    """
    found: dict[Phase, Span] = {}
    if task.answered_at is not None:
        found[Phase.ACCEPT] = Span(task.sent_at, max(0.0, task.answered_at - task.sent_at))
    end = task.ended_at
    if end is not None:
        found[Phase.END_TO_END] = Span(task.due_at, max(0.0, end - task.due_at))
    seen = task.seen
    if seen is None:
        return found
    submitted = seen.submitted_at - clocks.api.offset
    ahead = clocks.agent(seen.agent)
    if seen.started_at is not None:
        started = seen.started_at - ahead
        found[Phase.QUEUE] = Span(submitted, max(0.0, started - submitted))
        if seen.inputs is not None:
            # Inputs are fetched while the task before runs: they end at the latest when this one starts.
            found[Phase.INPUTS] = Span(started - seen.inputs, seen.inputs)
        if seen.generation is not None:
            found[Phase.GENERATION] = Span(started, seen.generation)
    if seen.finished_at is not None:
        finished = seen.finished_at - ahead
        if seen.upload is not None:
            found[Phase.UPLOAD] = Span(finished - seen.upload, seen.upload)
        if end is not None:
            found[Phase.CALLBACK] = Span(finished, max(0.0, end - finished))
    return found

"""What a trial does: which tasks, which faults, and when. A pure function of the seed, so that a trial can be repeated.

What follows from it depends on the machine's timing as well: the same seed gives the same blows, not the same scars.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contract.task import RuntimeType


class TaskKind(StrEnum):
    """What is special about a task."""

    PLAIN = "plain"
    IDEMPOTENT = "idempotent"
    """Sent with an `Idempotency-Key`, and sent again until it is answered."""
    LARGE = "large"
    """Its content is too large for its message."""
    RESUBMITTED = "resubmitted"
    """Its id is submitted a second time."""
    CANCELLED = "cancelled"
    DUPLICATED = "duplicated"
    """Its message is delivered twice."""
    FOREIGN = "foreign"
    """Published by somebody else: no record, no submission."""
    INVALID = "invalid"
    """The runtime refuses it for good."""
    POISONED = "poisoned"
    """The runtime answers it with an error each time."""
    ENDLESS = "endless"
    """The runtime hangs on it each time."""
    LONG = "long"
    """Runs for longer than the visibility timeout: only the heartbeat keeps others away."""
    UNREADABLE = "unreadable"
    """A message that is no task at all."""


FAKED: Final = (RuntimeType.SDWEBUI, RuntimeType.COMFYUI)
"""The types that the fake runtime plays: only it suffers faults to order."""

GUILTY: Final = frozenset({TaskKind.INVALID, TaskKind.POISONED, TaskKind.ENDLESS})
"""Kinds of tasks that fail by their own fault."""


class FaultKind(StrEnum):
    """What is done to the service."""

    AGENT_KILLED = "agent killed"
    AGENT_STOPPED = "agent stopped"
    AGENT_FROZEN = "agent frozen"
    RUNTIME_CRASH = "runtime crash"
    RUNTIME_HANG = "runtime hang"
    RUNTIME_ERROR = "runtime error"
    RUNTIME_OUT_OF_MEMORY = "runtime out of memory"
    RUNTIME_GARBAGE = "runtime garbage"
    AWS_FROZEN = "AWS frozen"
    AWS_UNAVAILABLE = "AWS unavailable"
    UPLOADS_FAIL = "uploads fail"
    CALLBACKS_FAIL = "callbacks fail"
    ANSWERS_LOST = "answers lost"
    """Calls reach AWS, and their callers never hear of it."""

    @property
    def strikes_one(self) -> bool:
        """Whether it strikes one pod; the others strike all."""
        return self.value.startswith(("agent", "runtime"))


@dataclass(frozen=True)
class PlannedTask:
    """A task, and when (seconds from the start) it is sent."""

    at: float
    task_id: str
    kind: TaskKind
    again_after: float = 0.0
    """Seconds until it is cancelled, submitted or delivered again."""


@dataclass(frozen=True)
class PlannedFault:
    """A fault, and when (seconds from the start) it begins."""

    at: float
    kind: FaultKind
    pod: int
    """Which one it strikes, from 0."""
    seconds: float
    """How long it lasts; for an agent that ends: until its successor is started."""


@dataclass(frozen=True)
class Plan:
    """A whole trial."""

    seed: int
    agents: int
    window: float
    """Seconds in which tasks are sent and faults begin."""
    runtime_type: RuntimeType
    visibility: int
    """Seconds of the agents' visibility timeout."""
    seconds_per_task: float
    slots: int
    """Runs that each agent may have at its runtime at once."""
    tasks: tuple[PlannedTask, ...]
    faults: tuple[PlannedFault, ...]

    def describe(self) -> str:
        """Returns what it holds, in a few lines."""
        tasks = Counter(task.kind for task in self.tasks)
        faults = Counter(fault.kind for fault in self.faults)
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.tasks)} tasks and {len(self.faults)} faults in {self.window:.0f} s, "
                f"{self.agents} agents on {self.runtime_type} runtimes of {self.seconds_per_task:g} s a task, "
                f"visibility timeout {self.visibility} s, {self.slots} {'slot' if self.slots == 1 else 'slots'}",
                "tasks:  " + ", ".join(f"{number} {kind}" for kind, number in tasks.most_common()),
                "faults: " + ", ".join(f"{number} {kind}" for kind, number in faults.most_common()),
            ]
        )


_SHARES: Final = {
    TaskKind.IDEMPOTENT: 0.08,
    TaskKind.LARGE: 0.03,
    TaskKind.RESUBMITTED: 0.05,
    TaskKind.CANCELLED: 0.08,
    TaskKind.DUPLICATED: 0.08,
    TaskKind.FOREIGN: 0.03,
    TaskKind.INVALID: 0.04,
    TaskKind.POISONED: 0.02,
    TaskKind.LONG: 0.02,
    TaskKind.ENDLESS: 0.005,
    TaskKind.UNREADABLE: 0.01,
}
"""Of all tasks; the rest is plain."""

_EVERY: Final = {
    FaultKind.AGENT_KILLED: 15.0,
    FaultKind.AGENT_STOPPED: 25.0,
    FaultKind.AGENT_FROZEN: 20.0,
    FaultKind.RUNTIME_CRASH: 25.0,
    FaultKind.RUNTIME_HANG: 35.0,
    FaultKind.RUNTIME_ERROR: 12.0,
    FaultKind.RUNTIME_OUT_OF_MEMORY: 20.0,
    FaultKind.RUNTIME_GARBAGE: 40.0,
    FaultKind.AWS_FROZEN: 80.0,
    FaultKind.AWS_UNAVAILABLE: 50.0,
    FaultKind.UPLOADS_FAIL: 40.0,
    FaultKind.CALLBACKS_FAIL: 40.0,
    FaultKind.ANSWERS_LOST: 40.0,
}
"""Seconds between two of a kind, on average; each kind strikes at least once."""

_CALM: Final = 0.1
"""Share of the window at its end in which nothing that lasts begins."""


def make_plan(
    seed: int,
    *,
    tasks: int = 400,
    agents: int = 3,
    window: float = 180.0,
    visibility: int = 4,
    seconds_per_task: float = 0.8,
    slots: int = 1,
    runtime_type: RuntimeType | None = None,
) -> Plan:
    """Returns the trial of a seed.

    Args:
        seed: any number.
        tasks: how many.
        agents: each with a runtime of its own, on one queue.
        window: seconds in which tasks are sent and faults begin.
        visibility: seconds; freezes last longer than that.
        seconds_per_task: what the fake runtimes need.
        slots: runs that each agent may have at its runtime at once.
        runtime_type: drawn when not given.
    """
    draw = random.Random(seed)
    drawn_type = draw.choice(FAKED)
    # No fault lasts longer than a third of the window; a frozen AWS in a full trial ten seconds.
    longest = window / 3

    def seconds(kind: FaultKind) -> float:
        match kind:
            case FaultKind.AGENT_FROZEN | FaultKind.RUNTIME_HANG:
                return round(min(longest, visibility + draw.uniform(0.5, 4.0)), 2)
            case FaultKind.AWS_FROZEN:
                return round(min(longest, 10.0), 2)
            case FaultKind.AGENT_KILLED | FaultKind.AGENT_STOPPED:
                return round(draw.uniform(0.0, 2.0), 2)
            case _ if kind.strikes_one:
                return 0.0
            case _:
                return round(min(longest, draw.uniform(1.0, 6.0)), 2)

    kinds = [kind for kind, share in _SHARES.items() for _ in range(max(1, round(share * tasks)))][:tasks]
    kinds += [TaskKind.PLAIN] * (tasks - len(kinds))
    draw.shuffle(kinds)
    faults = [
        PlannedFault(round(draw.uniform(0.02, 1 - _CALM) * window, 2), kind, draw.randrange(agents), seconds(kind))
        for kind, every in _EVERY.items()
        for _ in range(max(1, round(window / every)))
    ]
    return Plan(
        seed=seed,
        agents=agents,
        window=window,
        runtime_type=runtime_type or drawn_type,
        visibility=visibility,
        seconds_per_task=seconds_per_task,
        slots=slots,
        tasks=tuple(
            PlannedTask(
                at=round(number / tasks * window, 2),
                task_id=f"c{seed}-{number:04}",
                kind=kind,
                again_after=round(draw.choice([0.0, draw.uniform(0.0, 1.0), draw.uniform(0.0, longest / 8)]), 2),
            )
            for number, kind in enumerate(kinds)
        ),
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )

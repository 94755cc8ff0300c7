"""What a trial does: which tasks, which faults, and when. A pure function of the seed, so that a trial can be repeated.

What follows from it depends on the machine's timing as well: the same seed gives the same blows, not the same scars.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final

from contract.runtimes import KINDS
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
    MANY = "many"
    """So many, with so long names, that their callback does not fit into a message."""
    HUGE = "huge"
    """More outputs than one page of a listing; its agent is killed when most are stored, and then it is cancelled."""
    HASTY = "hasty"
    """Cancelled as soon as its record is there, while its message cannot go out."""
    HASTY_ONCE = "hasty-once"
    """The same, sent with an `Idempotency-Key`."""
    CROWDED = "crowded"
    """Cancelled while it waits for a runtime that is away; then its id is submitted again and again to another one."""
    UNATTENDED = "unattended"
    """Waits for a runtime that is away, for longer than its queue keeps messages."""
    DATED = "dated"
    """It is to begin within some seconds; some of these are for a runtime that is away."""
    UNDELIVERED = "undelivered"
    """Sent while the queue is gone that it is for."""


ONCE: Final = frozenset({TaskKind.IDEMPOTENT, TaskKind.HASTY_ONCE})
"""Kinds that are sent with an `Idempotency-Key`."""

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
    SUBMISSIONS_FAIL = "submissions fail"
    """SNS takes no tasks."""
    SNS_UNAVAILABLE = "SNS unavailable"
    API_KILLED = "API killed"
    QUEUE_GONE = "queue gone"
    """The queue of the runtime that is away is deleted, and made again."""

    @property
    def strikes_one(self) -> bool:
        """Whether it strikes one pod; the others strike all."""
        return self.value.startswith(("agent", "runtime"))


@dataclass(frozen=True)
class PlannedRuntime:
    """A runtime with its queue, and the pods that share it."""

    name: str
    type: RuntimeType
    pods: tuple[int, ...]
    """Their numbers; each is an agent with a server of its own."""
    slots: int
    """Runs that each agent may have at its server at once."""
    comes_at: float = 0.0
    """Seconds from the start until its agents are there."""


@dataclass(frozen=True)
class PlannedTask:
    """A task, and when (seconds from the start) it is sent."""

    at: float
    name: str
    """What its requests are known by."""
    kind: TaskKind
    runtime: str
    again_after: float = 0.0
    """Seconds until it is cancelled, submitted or delivered again; of a dated one: within which it is to begin."""
    tenant: str = ""
    """Whose it is; empty: nobody's, as what is published past the API."""
    shares: str = ""
    """The name of another tenant's task that has the same id."""

    @property
    def task_id(self) -> str:
        """Its id: the name, but for one whose addresses have to be long."""
        return self.name.ljust(_LONG_ID, "x") if self.kind is TaskKind.MANY else self.shares or self.name

    @property
    def ref(self) -> str:
        """Its tenant and its id, as its record's key has them."""
        return f"{self.tenant}/{self.task_id}" if self.tenant else self.task_id

    @property
    def prefix(self) -> str:
        """Where its results go."""
        return "output/" + "y" * _LONG_PREFIX if self.kind is TaskKind.MANY else "output"


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
    window: float
    """Seconds in which tasks are sent and faults begin."""
    runtimes: tuple[PlannedRuntime, ...]
    """The last one is away at first."""
    visibility: int
    """Seconds of the agents' visibility timeout."""
    seconds_per_task: float
    tasks: tuple[PlannedTask, ...]
    faults: tuple[PlannedFault, ...]

    @property
    def agents(self) -> int:
        """How many are there from the start."""
        return sum(len(runtime.pods) for runtime in self.runtimes if not runtime.comes_at)

    @property
    def away(self) -> PlannedRuntime:
        """The runtime that is away at first."""
        return self.runtimes[-1]

    @property
    def slots(self) -> int:
        """The most runs that an agent may have at its runtime at once."""
        return max(runtime.slots for runtime in self.runtimes)

    def runtime(self, name: str) -> PlannedRuntime:
        """Returns a runtime by its name."""
        return next(runtime for runtime in self.runtimes if runtime.name == name)

    def runtime_of(self, pod: int) -> PlannedRuntime:
        """Returns the runtime that a pod belongs to."""
        return next(runtime for runtime in self.runtimes if pod in runtime.pods)

    def describe(self) -> str:
        """Returns what it holds, in a few lines."""
        tasks = Counter(task.kind for task in self.tasks)
        faults = Counter(fault.kind for fault in self.faults)
        runtimes = (
            f"{runtime.name}: {len(runtime.pods)} x {runtime.type}"
            + (f", {runtime.slots} slots" if runtime.slots > 1 else "")
            + (f", away for {runtime.comes_at:.0f} s" if runtime.comes_at else "")
            for runtime in self.runtimes
        )
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.tasks)} tasks and {len(self.faults)} faults in {self.window:.0f} s, "
                f"{self.seconds_per_task:g} s a task, visibility timeout {self.visibility} s",
                "agents: " + "; ".join(runtimes),
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
    TaskKind.MANY: 0.0075,
    TaskKind.HASTY: 0.01,
    TaskKind.HASTY_ONCE: 0.01,
    TaskKind.CROWDED: 0.005,
    TaskKind.UNDELIVERED: 0.005,
    TaskKind.DATED: 0.08,
}
"""Of all tasks; the rest is plain."""

_IN_FULL_TRIALS: Final = {TaskKind.HUGE: 1, TaskKind.UNATTENDED: 3}
"""How many there are of what takes too long for a short trial."""

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
    FaultKind.SUBMISSIONS_FAIL: 60.0,
    FaultKind.SNS_UNAVAILABLE: 60.0,
    FaultKind.API_KILLED: 60.0,
}
"""Seconds between two of a kind, on average; each kind strikes at least once."""

_OUTAGES: Final = frozenset({FaultKind.SUBMISSIONS_FAIL, FaultKind.SNS_UNAVAILABLE})
"""Faults in which a task's record is there, and its message cannot go out."""

_CALM: Final = 0.1
"""Share of the window at its end in which nothing that lasts begins."""

_LONG_ID: Final = 250
_LONG_PREFIX: Final = 370
"""Bytes; such an id stands twice in each address."""

RETENTION: Final = 122
"""Seconds that the queue of the runtime that is away keeps a message; SQS allows 60 and more."""

EXPIRY: Final = 95
"""Seconds after which the API ends what has not begun."""

EXPIRY_SWEEP: Final = 10
"""Seconds between two looks for that."""

_COMES: Final = 0.85
"""Share of the window after which the runtime is there that is away at first."""

_GONE: Final = 0.08
"""Share of the window, from its start, in which that runtime's queue is gone."""

_MAKING_FEW: Final = frozenset({RuntimeType.INVOKEAI, RuntimeType.OPENAI})
"""Types of which a run makes a handful of images."""

_QUEUEING: Final = frozenset(kind for kind in RuntimeType if KINDS[kind].queues)
"""Types at which a second run may wait."""


def make_plan(
    seed: int,
    *,
    tasks: int = 400,
    agents: int = 3,
    window: float = 180.0,
    visibility: int = 4,
    seconds_per_task: float = 0.8,
    slots: int | None = None,
    types: Sequence[RuntimeType] = (),
    without: Collection[TaskKind] = (),
) -> Plan:
    """Returns the trial of a seed.

    Args:
        seed: any number.
        tasks: how many.
        agents: each with a server of its own, on two queues, or on one if there is but one agent; one more comes late.
        window: seconds in which tasks are sent and faults begin.
        visibility: seconds; freezes last longer than that.
        seconds_per_task: what the fake runtimes need.
        slots: runs that each agent may have at its runtime at once, where the type allows it; drawn when not given.
        types: of the runtimes, one after the other; drawn when not given.
        without: kinds of tasks that are left out; plain ones take their places.
    """
    draw = random.Random(seed)
    runtimes = _runtimes(draw, agents, comes_at=round(_COMES * window, 2), slots=slots, types=types)
    faults = _faults(draw, agents, window, visibility)
    return Plan(
        seed=seed,
        window=window,
        runtimes=runtimes,
        visibility=visibility,
        seconds_per_task=seconds_per_task,
        tasks=_tasks(draw, f"c{seed}", tasks, window, runtimes, faults, without),
        faults=faults,
    )


def _runtimes(
    draw: random.Random, agents: int, *, comes_at: float, slots: int | None, types: Sequence[RuntimeType]
) -> tuple[PlannedRuntime, ...]:
    drawn = draw.sample(list(RuntimeType), 3)
    drawn_slots = draw.choice([1, 1, 2])
    of_type = [types[number % len(types)] if types else drawn[number] for number in range(3)]
    first = (agents + 1) // 2
    shared = [tuple(range(first)), tuple(range(first, agents))]
    names = ("first", "second", "away")
    return tuple(
        PlannedRuntime(
            name=name,
            type=kind,
            pods=pods,
            slots=(slots or drawn_slots) if kind in _QUEUEING else 1,
            comes_at=comes_at if name == "away" else 0.0,
        )
        for name, kind, pods in zip(names, of_type, [*shared, (agents,)], strict=True)
        if pods
    )


def _faults(draw: random.Random, agents: int, window: float, visibility: int) -> tuple[PlannedFault, ...]:
    # No fault lasts longer than a third of the window; a frozen AWS in a full trial ten seconds.
    longest = window / 3

    def seconds(kind: FaultKind) -> float:
        match kind:
            case FaultKind.AGENT_FROZEN | FaultKind.RUNTIME_HANG:
                return round(min(longest, visibility + draw.uniform(0.5, 4.0)), 2)
            case FaultKind.AWS_FROZEN:
                return round(min(longest, 10.0), 2)
            case FaultKind.AGENT_KILLED | FaultKind.AGENT_STOPPED | FaultKind.API_KILLED:
                return round(draw.uniform(0.0, 2.0), 2)
            case FaultKind.SUBMISSIONS_FAIL | FaultKind.SNS_UNAVAILABLE:
                return round(min(longest, draw.uniform(4.0, 8.0)), 2)
            case _ if kind.strikes_one:
                return 0.0
            case _:
                return round(min(longest, draw.uniform(1.0, 6.0)), 2)

    faults = [
        PlannedFault(round(draw.uniform(0.02, 1 - _CALM) * window, 2), kind, draw.randrange(agents), seconds(kind))
        for kind, every in _EVERY.items()
        for _ in range(max(1, round(window / every)))
    ]
    faults.append(PlannedFault(0.0, FaultKind.QUEUE_GONE, agents, round(_GONE * window, 2)))
    # While it cannot hand a task over, the API has the most to lose.
    outage = draw.choice([fault for fault in faults if fault.kind in _OUTAGES])
    at = round(min(window, outage.at + draw.uniform(0.5, 2.0) * min(1.0, outage.seconds / 4)), 2)
    faults.append(PlannedFault(at, FaultKind.API_KILLED, 0, seconds(FaultKind.API_KILLED)))
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _tasks(
    draw: random.Random,
    label: str,
    number: int,
    window: float,
    runtimes: Sequence[PlannedRuntime],
    faults: Sequence[PlannedFault],
    without: Collection[TaskKind],
) -> tuple[PlannedTask, ...]:
    away, present = runtimes[-1], runtimes[:-1]
    pods = [runtime for runtime in present for _ in runtime.pods]
    outages = [fault for fault in faults if fault.kind in _OUTAGES]
    may_expire = away.comes_at - RETENTION - 5
    wanted = {kind: max(1, round(share * number)) for kind, share in _SHARES.items()}
    if may_expire > _GONE * window:
        wanted |= _IN_FULL_TRIALS
    kinds = [kind for kind, many in wanted.items() if kind not in without for _ in range(many)][:number]
    kinds += [TaskKind.PLAIN] * (number - len(kinds))
    draw.shuffle(kinds)

    def made(position: int, kind: TaskKind) -> PlannedTask:
        at, runtime = position / number * window, draw.choice(pods)
        again = [0.0, draw.uniform(0.0, 1.0), draw.uniform(0.0, window / 24)]
        again_after = draw.choice(_TO_BEGIN if kind is TaskKind.DATED else again)
        # So late that the queue still has them when the agent comes, and some before it does.
        waiting = draw.uniform(max(1.2 * _GONE * window, away.comes_at - RETENTION + 15), 0.9 * away.comes_at)
        match kind:
            case TaskKind.HASTY | TaskKind.HASTY_ONCE:
                outage = draw.choice(outages)
                at = outage.at + draw.uniform(0.05, 0.4) * outage.seconds
            case TaskKind.UNDELIVERED:
                at, runtime = draw.uniform(0.2, 0.9) * _GONE * window, away
            case TaskKind.UNATTENDED:
                at, runtime = draw.uniform(1.2 * _GONE * window, may_expire), away
            case TaskKind.CROWDED:
                at, runtime = waiting, away
            case TaskKind.HUGE:
                at = draw.uniform(0.1, 0.6) * window
            case TaskKind.PLAIN | TaskKind.DATED if draw.random() < _SHARE_AWAY[kind]:
                at, runtime = draw.choice([waiting, draw.uniform(away.comes_at, window)]), away
            case _:
                pass
        if kind in _OUTPUTS and runtime.type in _MAKING_FEW:
            runtime = next((other for other in present if other.type not in _MAKING_FEW), runtime)
        tenant = "" if kind is TaskKind.FOREIGN else TENANTS[0]
        at = min(round(at, 2), window)
        return PlannedTask(at, f"{label}-{position:04}", kind, runtime.name, round(again_after, 2), tenant)

    tasks = [made(position, kind) for position, kind in enumerate(kinds)]
    for position, (before, task) in enumerate(pairwise(tasks), start=1):
        if {before.kind, task.kind} <= _ORDINARY and before.tenant == TENANTS[0] and draw.random() < _SHARE_OTHERS:
            tasks[position] = replace(task, tenant=TENANTS[1], shares=before.name)
    return tuple(sorted(tasks, key=lambda task: task.at))


TENANTS: Final = ("alice", "bob")
"""Whose tasks there are; some of the second one's have ids that the first one has given, too."""

_SHARE_OTHERS: Final = 0.1
_ORDINARY: Final = frozenset({TaskKind.PLAIN, TaskKind.IDEMPOTENT, TaskKind.CANCELLED, TaskKind.RESUBMITTED})


_SHARE_AWAY: Final = {TaskKind.PLAIN: 0.05, TaskKind.DATED: 0.3}
"""Of these kinds of tasks, those for the runtime that is away at first."""

_TO_BEGIN: Final = (0.3, 1.0, 3.0, 12.0)
"""Seconds within which a dated task is to begin."""

_OUTPUTS: Final = frozenset({TaskKind.MANY, TaskKind.HUGE})

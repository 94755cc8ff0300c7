"""The figures of a run: counts, percentiles, use of the GPUs, and what a million images would cost at that use."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from contract.costs import GpuPrice, split_bill
from contract.prices import (
    REFERENCE_INSTANCE,
    Capacity,
    Usage,
    bill,
    load_prices,
    per_image,
    requests_of,
    total,
)
from loadtest.fair_shares import waits_of
from loadtest.phases import Phase
from loadtest.run import Run, percentile
from loadtest.samples import usage_between
from loadtest.tasks import Answer

SHOWN: Final = (Phase.QUEUE, Phase.GENERATION, Phase.UPLOAD, Phase.CALLBACK)
"""Phases that follow one another, each with a colour of its own; the others overlap them."""

_MILLION: Final = 1_000_000


@dataclass(frozen=True)
class PhaseFigures:
    """One phase over all tasks, in seconds."""

    phase: Phase
    tasks: int
    begins: float
    """After the task was due; the mean."""
    mean: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class StepFigures:
    """One step of a pod's way from pending to serving, over all pods, in seconds."""

    step: str
    pods: int
    mean: float
    longest: float


@dataclass(frozen=True)
class Cost:
    """What a million images cost a month, in USD, and how that was found."""

    gpu: Decimal
    requests: Decimal
    busy_share: float
    seconds_per_image: float
    """GPU seconds paid for, idle ones too."""
    gpu_if_never_idle: Decimal
    instance: str
    as_of: str


@dataclass(frozen=True)
class Spent:
    """What the GPUs of this run cost, in USD: what the tasks tell of themselves, and idle time; None: not known."""

    tasks_seconds: Decimal
    idle_seconds: Decimal
    tasks: Decimal | None
    idle: Decimal | None
    together: Decimal | None
    source: str
    """Of the prices."""


@dataclass(frozen=True)
class Figures:
    """Everything that the report says in numbers."""

    counts: dict[str, int]
    phases: list[PhaseFigures]
    ended_per_second: float
    peak_queue: int | None
    peak_replicas: int | None
    drained_after: float | None
    """Seconds after the load's end."""
    gpu_idle: float | None
    """0 to 1, until the queue was empty."""
    gpu_seconds: float
    cost: Cost | None
    spent: Spent | None
    """None: the agents count no costs, or no GPU's time was seen."""
    skew: dict[str, float]
    """Seconds by which a clock was corrected, where it was."""
    starts: list[StepFigures]
    """Empty where there are no pods."""
    waits: dict[str, float]
    """p95 of the wait in a queue, in seconds, by tenant; empty where there is one alone."""

    def phase(self, phase: Phase) -> PhaseFigures | None:
        """Returns the figures of a phase; None when no task has it."""
        return next((item for item in self.phases if item.phase is phase), None)

    def as_json(self) -> dict[str, Any]:
        """Returns all of it as JSON can hold it."""
        cost = None if self.cost is None else {key: _plain(value) for key, value in vars(self.cost).items()}
        spent = None if self.spent is None else {key: _plain(value) for key, value in vars(self.spent).items()}
        phases = [{key: _plain(value) for key, value in vars(item).items()} for item in self.phases]
        starts = [vars(item) for item in self.starts]
        return {**vars(self), "phases": phases, "cost": cost, "spent": spent, "starts": starts}


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else str(value) if isinstance(value, Phase) else value


def figures_of(run: Run) -> Figures:
    """Returns the figures of a run."""
    ended = [task for task in run.tasks if task.heard]
    use = usage_between(run.samples, run.facts.began_at, run.drained_at or run.facts.ended_at)
    last = max((task.heard[0].at for task in ended), default=run.facts.began_at)
    queues = [sum(depth.total for depth in sample.queues.values()) for sample in run.samples if sample.queues]
    replicas = [sum(item.ready for item in sample.replicas.values()) for sample in run.samples if sample.replicas]
    images = sum(task.seen.images if task.seen else task.heard[0].result for task in ended)
    return Figures(
        counts=_counts(run),
        phases=_phases(run),
        ended_per_second=len(ended) / max(1.0, last - run.facts.began_at),
        peak_queue=max(queues, default=None),
        peak_replicas=max(replicas, default=None),
        drained_after=None if run.drained_at is None else run.drained_at - run.load_end,
        gpu_idle=use.idle_share,
        gpu_seconds=use.available,
        cost=None if use.idle_share is None or not images else cost_of(use.available, use.busy, images),
        spent=spent_of(run, use.available),
        skew={
            name: bounds.offset
            for name, bounds in [("API", run.clocks.api), *run.clocks.agents.items()]
            if bounds.offset
        },
        starts=_starts(run),
        waits=waits_of(run),
    )


def _starts(run: Run) -> list[StepFigures]:
    """Returns the steps of all pods that came to serve during the run."""
    found = {name: start for sample in run.samples for name, start in sample.starts.items()}
    steps: dict[str, list[float]] = {}
    for start in found.values():
        for step, seconds in start.steps.items():
            steps.setdefault(step, []).append(seconds)
    return [StepFigures(step, len(all_), sum(all_) / len(all_), max(all_)) for step, all_ in steps.items()]


def spent_of(run: Run, available: float) -> Spent | None:
    """Returns what the GPUs of a run cost.

    Args:
        run: with what its tasks tell.
        available: GPU seconds that were there, and paid for.
    """
    costs = [task.seen.cost for task in run.tasks if task.seen is not None and task.seen.cost is not None]
    if not costs or available <= 0:
        return None
    prices = {cost.price for cost in costs}
    sources = sorted({cost.source for cost in costs})
    # Where GPUs differ, nobody here can tell which of them were idle.
    [price] = prices if len(prices) == 1 else [None]
    gpu = GpuPrice(None if price is None else Decimal(repr(price)), "")
    # A GPU is seen every second, and a task may have begun before the first look.
    used = sum(cost.gpu_seconds for cost in costs)
    split = split_bill(costs, paid_seconds=max(available, used), price=gpu)
    return Spent(
        split.tasks_seconds, split.idle_seconds, split.tasks_usd, split.idle_usd, split.total_usd, "; ".join(sources)
    )


def cost_of(available: float, busy: float, images: int) -> Cost:
    """Returns what a million images cost if the GPUs are used as they were here.

    Args:
        available: GPU seconds that were there, and paid for.
        busy: seconds of these in which a GPU worked.
        images: that were made in them.
    """
    table = load_prices()

    def gpu(seconds: float) -> Decimal:
        hours = Decimal(_MILLION) * Decimal(seconds / images) / 3600
        return total(bill(Usage({(REFERENCE_INSTANCE, Capacity.SPOT): hours}), table))

    return Cost(
        gpu=gpu(available),
        requests=total(bill(Usage(quantities=requests_of(_MILLION, per_image(busy / images))), table)),
        busy_share=min(1.0, busy / available),
        seconds_per_image=available / images,
        gpu_if_never_idle=gpu(busy),
        instance=REFERENCE_INSTANCE,
        as_of=table.as_of.isoformat(),
    )


def _counts(run: Run) -> dict[str, int]:
    answers = Counter(task.answer for task in run.tasks)
    return {
        "sent": len(run.tasks),
        "accepted": answers[Answer.ACCEPTED],
        "throttled": answers[Answer.THROTTLED],
        "refused": answers[Answer.REFUSED],
        "no answer": answers[Answer.UNKNOWN],
        "ended": sum(bool(task.heard) for task in run.tasks),
        "failed": sum(bool(task.heard) and not task.heard[0].result for task in run.tasks),
        "lost": sum(task.lost for task in run.tasks),
        "heard twice": sum(len(task.heard) > 1 for task in run.tasks),
        "begun again": sum(task.seen is not None and task.seen.attempts > 1 for task in run.tasks),
    }


def _phases(run: Run) -> list[PhaseFigures]:
    found = []
    for phase in Phase:
        pairs = [
            (spans[phase].begin - task.due_at, spans[phase].seconds)
            for task, spans in zip(run.tasks, run.spans, strict=True)
            if phase in spans
        ]
        if not pairs:
            continue
        seconds = sorted(item for _, item in pairs)
        found.append(
            PhaseFigures(
                phase=phase,
                tasks=len(pairs),
                begins=sum(item for item, _ in pairs) / len(pairs),
                mean=sum(seconds) / len(pairs),
                p50=percentile(seconds, 50) or 0.0,
                p95=percentile(seconds, 95) or 0.0,
                p99=percentile(seconds, 99) or 0.0,
            )
        )
    return found

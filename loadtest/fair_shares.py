"""What a flood does to the others' waits, beside what the planner foretells with a fair queue and without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from contract.scaling.settings import Scaling
from loadtest.phases import Phase
from loadtest.planner.arrivals import Recorded, Tagged
from loadtest.planner.model import Nodes, Work
from loadtest.planner.model import Run as Plan
from loadtest.planner.simulation import simulate
from loadtest.run import Run, percentile
from loadtest.target import Kind
from loadtest.verdict import Outcome

_AT_ONCE: Final = Nodes(
    batch_idle=0, node_seconds=0, image_seconds=0, start_seconds=0, model_seconds=0, spread=0, interruptions_per_hour=0
)
_NAME: Final = "quiet keys wait as in a fair queue"


@dataclass(frozen=True)
class Foretold:
    """p95 of the quiet keys' waits, in seconds."""

    fair: float
    not_fair: float


def waits_of(run: Run) -> dict[str, float]:
    """Returns the p95 of each tenant's waits in the queue, in seconds; empty where there is one tenant alone."""
    waits: dict[str, list[float]] = {}
    for task, spans in zip(run.tasks, run.spans, strict=True):
        if task.tenant and Phase.QUEUE in spans:
            waits.setdefault(task.tenant, []).append(spans[Phase.QUEUE].seconds)
    return {name: percentile(found, 95) or 0.0 for name, found in sorted(waits.items())}


def fair_shares(run: Run) -> Outcome:
    """Judges on AWS whether quiet keys waited rather as in a fair queue; elsewhere it says how long they did."""
    loud = _loud(run)
    quiet = [
        spans[Phase.QUEUE].seconds
        for task, spans in zip(run.tasks, run.spans, strict=True)
        if task.tenant not in {"", loud} and Phase.QUEUE in spans
    ]
    measured, foretold = percentile(quiet, 95), _foretell(run, loud)
    if measured is None or foretold is None:
        return Outcome(_NAME, False, "no quiet key's wait, or no replica, was seen: nothing to look at")
    says = (
        f"95 % of the quiet keys' tasks waited at most {measured:.1f} s; "
        f"foretold: {foretold.fair:.1f} s in a fair queue, {foretold.not_fair:.1f} s in one that is not"
    )
    if run.facts.target is not Kind.AWS:
        return Outcome(_NAME, True, f"{says} (not judged: no emulator has fair queues)")
    return Outcome(_NAME, measured <= (foretold.fair + foretold.not_fair) / 2, says)


def _loud(run: Run) -> str:
    """Returns the tenant that floods: the one with the most tasks."""
    names = [task.tenant for task in run.tasks]
    return max(set(names), key=lambda name: (names.count(name), name), default="")


def _foretell(run: Run, loud: str) -> Foretold | None:
    """Returns what the planner says of the same arrivals at as many replicas as there were."""
    ready = max((item.ready for sample in run.samples for item in sample.replicas.values()), default=0)
    seconds = run.seconds(Phase.GENERATION)
    if not ready or not seconds or not loud:
        return None
    begin = run.facts.began_at
    times = tuple(Tagged(max(0.0, task.due_at - begin), task.tenant) for task in run.tasks)
    scaling = Scaling.model_validate({"minReplicaCount": ready, "maxReplicaCount": ready})
    plan = Plan(work=Work(seconds=sum(seconds) / len(seconds)), nodes=_AT_ONCE, fair=True)
    fair, not_fair = (simulate(Recorded(times), scaling, replace(plan, fair=kind)) for kind in (True, False))
    return Foretold(fair.quiet_waits.at(95), not_fair.quiet_waits.at(95))

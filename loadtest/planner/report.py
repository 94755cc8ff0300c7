"""What a plan says: as tables for people, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from contract.prices import Line, PriceTable, by_service, reference_bill, total
from contract.scaling.settings import Scaling
from loadtest.planner.costs import Bill
from loadtest.planner.model import Run
from loadtest.planner.simulation import Outcome
from loadtest.planner.sweep import pareto_front

PERCENTS: Final = (50, 95, 99)


@dataclass(frozen=True)
class Plan:
    """One simulated setting."""

    runtime: str
    scaling: Scaling
    run: Run
    outcome: Outcome
    bill: Bill
    not_fair: Outcome | None = None
    """The same with a queue that is not fair, where the load names tenants."""

    @property
    def point(self) -> tuple[float, float]:
        """p95 of the wait in seconds, and USD a month: what a sweep trades."""
        return self.outcome.waits.at(95), float(self.bill.total)


def show(console: Console, plan: Plan, table: PriceTable) -> None:
    """Prints one plan."""
    outcome, scaling = plan.outcome, plan.scaling
    hours = outcome.duration / 3600
    work = plan.run.work
    console.print(
        f"{plan.runtime}: {outcome.tasks:,} tasks in {hours:.1f} h, {work.seconds:g} s each; "
        f"queueLength {scaling.queue_length}, {scaling.min_replica_count} to {scaling.max_replica_count} replicas, "
        f"SLOTS {work.slots}, PREFETCH {work.prefetch} ({work.lead:g} s before a run's end), "
        f"{plan.run.nodes.instance} {plan.run.nodes.capacity.replace('_', '-')}"
    )
    facts = Table(show_header=False, box=None, pad_edge=False)
    waits = ", ".join(f"p{percent} {outcome.waits.at(percent):.1f} s" for percent in PERCENTS)
    facts.add_row("wait", f"mean {outcome.waits.mean:.1f} s, {waits}, longest {outcome.waits.highest:.1f} s")
    facts.add_row("nodes", f"at most {outcome.peak_nodes}; {outcome.node_starts} started")
    facts.add_row("GPU utilisation", f"{outcome.utilisation:.1%} of {plan.bill.gpu_hours:,.1f} paid hours a month")
    facts.add_row("cold starts", f"{outcome.cold_starts} on new nodes, {outcome.warm_starts} on nodes that were there")
    facts.add_row(
        "interruptions",
        f"{outcome.node_interruptions} nodes taken; {outcome.interrupted_tasks} tasks told to end, "
        f"{outcome.repeated_tasks} of them repeated",
    )
    if plan.not_fair is not None:
        facts.add_row("p95 wait of quiet tenants", _fairness(plan.not_fair, outcome))
    if outcome.unfinished:
        facts.add_row("never ended", f"{outcome.unfinished} tasks: below activationQueueLength no replica starts")
    console.print(facts)
    console.print(_bill_table(plan.bill, table))


def _fairness(without: Outcome, fair: Outcome) -> str:
    """Returns what a fair queue does for all tenants but the loudest."""
    name = fair.loudest
    return (
        f"{fair.quiet_waits.at(95):.1f} s in a fair queue, {without.quiet_waits.at(95):.1f} s in one that is not; "
        f"of {name}, which sends most, {fair.waits_of[name].at(95):.1f} s and {without.waits_of[name].at(95):.1f} s"
    )


def _bill_table(bill: Bill, prices: PriceTable) -> Table:
    table = Table(title=f"A month of {bill.images:,} images, USD ({prices.region}, prices of {prices.as_of})")
    table.add_column("service")
    table.add_column("GPUs never idle", justify="right")
    table.add_column("as simulated", justify="right")
    ideal, real = by_service(bill.variable_at_full_use), by_service(bill.variable)
    for service in real:
        table.add_row(service, _usd(ideal.get(service, Decimal(0))), _usd(real[service]))
        if service == "Amazon EC2":
            table.add_row("  of which tasks", _usd(ideal.get(service, Decimal(0))), _usd(bill.gpu_tasks))
            table.add_row("  of which idle", _usd(Decimal(0)), _usd(bill.gpu_idle))
    table.add_section()
    table.add_row("for the images", _usd(total(bill.variable_at_full_use)), _usd(total(bill.variable)))
    for service, amount in by_service(bill.fixed).items():
        table.add_row(f"{service} (fixed)", _usd(amount), _usd(amount))
    table.add_section()
    ideal_total = total(bill.variable_at_full_use) + total(bill.fixed)
    table.add_row("total", _usd(ideal_total), _usd(bill.total))
    return table


def show_reference(console: Console) -> None:
    """Prints the reference's published bill, and where its arithmetic is odd."""
    reference = reference_bill()
    table = Table(title="The reference design's published bill: 1,000,000 images of 1.5 s a month, GPUs never idle")
    for name in ("service", "dimension"):
        table.add_column(name)
    for name in ("quantity", "unit price", "USD"):
        table.add_column(name, justify="right")
    for lines, name in ((reference.variable, "for the images"), (reference.fixed, "fixed")):
        for line in lines:
            table.add_row(line.service, line.dimension, f"{line.quantity:,.2f}", f"{line.unit_price}", _usd(line.total))
        table.add_section()
        table.add_row(name, "", "", "", _usd(total(lines)))
        table.add_section()
    table.add_row("total", "", "", "", _usd(total(reference.variable) + total(reference.fixed)))
    console.print(table)
    for oddity in reference.oddities:
        console.print(f"- {oddity}", highlight=False)


def show_sweep(console: Console, name: str, plans: Sequence[tuple[int, Plan]]) -> None:
    """Prints what a sweep trades; a star marks what nothing else beats in both p95 and cost."""
    front = set(pareto_front([plan.point for _, plan in plans]))
    title = f"{name}: waiting against cost (* no other is better in both)"
    table = Table(title=title, box=None, padding=(0, 1), pad_edge=False)
    for column in ("value", "p50 s", "p95 s", "p99 s", "GPU use", "nodes", "cold", "USD/month", "USD/1,000", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for index, (value, plan) in enumerate(plans):
        outcome = plan.outcome
        table.add_row(
            str(value),
            *(f"{outcome.waits.at(percent):.1f}" for percent in PERCENTS),
            f"{outcome.utilisation:.1%}",
            str(outcome.peak_nodes),
            str(outcome.cold_starts),
            _usd(plan.bill.total),
            f"{plan.bill.per_thousand}",
            "*" if index in front else "",
        )
    console.print(table)


def as_json(plan: Plan, table: PriceTable) -> dict[str, Any]:
    """Returns a plan for programs: seconds, USD as strings, shares from 0 to 1."""
    outcome, bill = plan.outcome, plan.bill
    return {
        "runtime": plan.runtime,
        "scaling": plan.scaling.model_dump(by_alias=True, mode="json"),
        "run": asdict(plan.run),
        "tasks": outcome.tasks,
        "unfinished": outcome.unfinished,
        "duration_seconds": outcome.duration,
        "wait_seconds": _times(plan.outcome.waits.at, outcome.waits.mean, outcome.waits.highest),
        "latency_seconds": _times(plan.outcome.latencies.at, outcome.latencies.mean, outcome.latencies.highest),
        **({} if plan.not_fair is None else {"fairness": _fairness_json(plan.not_fair, outcome)}),
        "gpu_utilisation": outcome.utilisation,
        "node_hours": outcome.node_seconds / 3600,
        "peak_nodes": outcome.peak_nodes,
        "node_starts": outcome.node_starts,
        "cold_starts": outcome.cold_starts,
        "warm_starts": outcome.warm_starts,
        "node_interruptions": outcome.node_interruptions,
        "interrupted_tasks": outcome.interrupted_tasks,
        "repeated_tasks": outcome.repeated_tasks,
        "month": {
            "images": bill.images,
            "gpu_hours": bill.gpu_hours,
            "variable": [_line(line) for line in bill.variable],
            "variable_at_full_use": [_line(line) for line in bill.variable_at_full_use],
            "fixed": [_line(line) for line in bill.fixed],
            "gpu_tasks_usd": str(bill.gpu_tasks),
            "gpu_idle_usd": str(bill.gpu_idle),
            "total_usd": str(bill.total),
            "variable_usd_per_thousand_images": str(bill.per_thousand),
            "prices": {"region": table.region, "as_of": table.as_of.isoformat(), "source": table.source},
        },
        "series": [asdict(sample) for sample in outcome.samples],
    }


def _fairness_json(without: Outcome, fair: Outcome) -> dict[str, Any]:
    def waits(outcome: Outcome) -> dict[str, dict[str, float]]:
        quiet, loudest = outcome.quiet_waits, outcome.waits_of[fair.loudest]
        return {
            "quiet": _times(quiet.at, quiet.mean, quiet.highest),
            "loudest": _times(loudest.at, loudest.mean, loudest.highest),
        }

    return {"loudest": fair.loudest, "fair": waits(fair), "not_fair": waits(without)}


def _times(at: Any, mean: float, highest: float) -> dict[str, float]:
    return {f"p{percent}": at(percent) for percent in PERCENTS} | {"mean": mean, "max": highest}


def _line(line: Line) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(line).items()}


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f}"

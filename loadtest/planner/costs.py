"""From a simulated span to a month's bill."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from contract.prices import (
    HOURS_PER_MONTH,
    Capacity,
    Fixed,
    Item,
    Line,
    PriceTable,
    Usage,
    bill,
    by_service,
    fixed_usage,
    per_image,
    requests_of,
    total,
)
from contract.scaling.settings import Scaling
from loadtest.planner.model import Run
from loadtest.planner.simulation import Outcome

_MONTH: Final = HOURS_PER_MONTH * 3600.0
_LONG_POLL: Final = 20.0
"""Seconds: an idle agent asks SQS so often."""


@dataclass(frozen=True)
class Bill:
    """A month, if every span of it is like the simulated one."""

    images: int
    gpu_hours: float
    """Paid for."""
    variable: tuple[Line, ...]
    variable_at_full_use: tuple[Line, ...]
    """The same images on GPUs that are never idle, as the reference's cost table has it."""
    fixed: tuple[Line, ...]
    utilisation: float = 0.0
    """The share of the paid GPU hours in which tasks ran."""

    @property
    def gpu_tasks(self) -> Decimal:
        """USD of the GPU nodes that tasks have used: the sum of what they tell of themselves (docs/costs.md)."""
        return (self._gpu * Decimal(repr(self.utilisation))).quantize(Decimal("0.01"))

    @property
    def gpu_idle(self) -> Decimal:
        """USD of the GPU nodes for the rest: starts, and waiting for tasks."""
        return self._gpu - self.gpu_tasks

    @property
    def _gpu(self) -> Decimal:
        return by_service(self.variable).get("Amazon EC2", Decimal(0))

    @property
    def total(self) -> Decimal:
        """USD a month."""
        return total(self.variable) + total(self.fixed)

    @property
    def per_thousand(self) -> Decimal:
        """USD of the variable lines for a thousand images; 0 without images."""
        return (total(self.variable) * 1000 / self.images).quantize(Decimal("0.0001")) if self.images else Decimal(0)


def monthly_bill(outcome: Outcome, scaling: Scaling, run: Run, table: PriceTable, fixed: Fixed) -> Bill:
    """Returns the bill of a month that repeats the simulated span.

    Raises:
        PricesError: the table lacks a price.
    """
    times = _MONTH / outcome.duration
    images = round(outcome.tasks * times)
    node_hours = outcome.node_seconds * times / 3600
    useful_hours = images * run.work.seconds / 3600
    return Bill(
        images=images,
        gpu_hours=node_hours,
        variable=bill(_usage(images, node_hours, run, _extra_sqs(outcome, scaling, run, times)), table),
        variable_at_full_use=bill(_usage(images, useful_hours, run, 0.0), table),
        fixed=bill(fixed_usage(fixed), table),
        utilisation=outcome.utilisation,
    )


def _usage(images: int, node_hours: float, run: Run, extra_sqs: float) -> Usage:
    quantities = requests_of(images, per_image(run.work.seconds))
    quantities[Item.SQS_MILLION_REQUESTS] = quantities.get(Item.SQS_MILLION_REQUESTS, Decimal(0)) + _decimal(
        extra_sqs / 1e6
    )
    node_months = node_hours / HOURS_PER_MONTH
    quantities[Item.EBS_GP3_GIB_MONTH] = _decimal(node_months * run.nodes.volume_gib)
    quantities[Item.EBS_GP3_IOPS_MONTH] = _decimal(node_months * run.nodes.volume_iops)
    quantities[Item.EBS_GP3_THROUGHPUT_MIB_MONTH] = _decimal(node_months * run.nodes.volume_throughput)
    hours: dict[tuple[str, Capacity], float | Decimal] = {
        (run.nodes.instance, run.nodes.capacity): _decimal(node_hours).quantize(Decimal("0.01"))
    }
    return Usage(hours, quantities)


def _extra_sqs(outcome: Outcome, scaling: Scaling, run: Run, times: float) -> float:
    """Returns a month's requests that no image asks for: the scalers' looks, idle agents' polls, second receives."""
    looks = _MONTH / scaling.polling_interval + _MONTH / run.sync_period if scaling.enabled else 0.0
    idle = max(0.0, outcome.node_seconds - outcome.busy_seconds) * times
    return looks + idle / _LONG_POLL + outcome.repeated_tasks * times


def _decimal(value: float) -> Decimal:
    return Decimal(repr(value))

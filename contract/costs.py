"""What a task cost: GPU seconds times the price of a GPU's hour. Pure functions.

An agent knows what its GPU costs, from its settings, and writes what it has used into the record. Each write holds the
whole so far, not what came on top, so that one which is repeated changes nothing. A price that nobody knows stays null.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from pydantic import BaseModel, ConfigDict

HOUR: Final = Decimal(3600)
_STEP: Final = Decimal("0.000000001")
"""USD: what a microsecond of a GPU costs."""


@dataclass(frozen=True, slots=True)
class GpuPrice:
    """What an hour of one GPU costs."""

    usd: Decimal | None
    """None: not known."""
    source: str
    """Where it is from; of one that is not known, why not."""


class Cost(BaseModel):
    """What a submission has used of GPUs, in all of its attempts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    gpu_seconds: float
    usd: float | None
    """None: the price of one of its attempts is not known."""
    price: float | None
    """USD of a GPU hour, where the newest attempt ran."""
    source: str
    """Of the price."""


def charged(before: Cost | None, seconds: float, price: GpuPrice) -> Cost:
    """Returns what a submission has cost with an attempt's seconds added.

    Args:
        before: what its earlier attempts have cost; None: nothing that is known.
        seconds: of the GPU, that the attempt has used.
        price: where it ran.
    """
    earlier = before or Cost(gpu_seconds=0, usd=0, price=None, source="")
    used = Decimal(str(round(seconds, 3)))
    usd = None
    if earlier.usd is not None and price.usd is not None:
        usd = float((Decimal(str(earlier.usd)) + used * price.usd / HOUR).quantize(_STEP))
    return Cost(
        gpu_seconds=float(Decimal(str(earlier.gpu_seconds)) + used),
        usd=usd,
        price=None if price.usd is None else float(price.usd),
        source=price.source,
    )


@dataclass(frozen=True, slots=True)
class Split:
    """What GPUs were paid for, and how much of that tasks have used."""

    tasks_seconds: Decimal
    idle_seconds: Decimal
    tasks_usd: Decimal | None
    idle_usd: Decimal | None
    """None: some price is not known."""

    @property
    def total_usd(self) -> Decimal | None:
        """The bill of the GPUs."""
        return None if self.tasks_usd is None or self.idle_usd is None else self.tasks_usd + self.idle_usd


def split_bill(costs: Iterable[Cost], *, paid_seconds: float, price: GpuPrice) -> Split:
    """Returns what tasks have cost, and what is left of the paid GPU time: starts, waiting, and what nobody booked.

    Args:
        costs: of all tasks that ran on these GPUs.
        paid_seconds: of all GPUs together.
        price: of these GPUs.
    """
    used, tasks = Decimal(0), Decimal(0)
    known = True
    for cost in costs:
        used += Decimal(str(cost.gpu_seconds))
        known = known and cost.usd is not None
        tasks += Decimal(str(cost.usd or 0))
    paid = Decimal(repr(paid_seconds))
    idle = None if price.usd is None else (paid - used) * price.usd / HOUR
    return Split(used, paid - used, tasks if known else None, idle)

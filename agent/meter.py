"""What the runs of an agent cost: their seconds on the GPU, at the price that its settings tell."""

from __future__ import annotations

from agent.holdings import Held
from agent.settings import Settings
from contract.costs import Cost, GpuPrice, charged


class Meter:
    """Counts for one agent.

    Args:
        price: of its GPU; None: nobody wants to know what tasks cost, and nothing is counted.
    """

    def __init__(self, price: GpuPrice | None = None) -> None:
        self._price = price

    def cost_of(self, held: Held) -> Cost | None:
        """Returns what a task has cost so far; None: nothing is counted, or it has not begun here."""
        if self._price is None or not held.attempt:
            return None
        return charged(held.cost_before, held.gpu_seconds, self._price)


def price_of(settings: Settings) -> GpuPrice | None:
    """Returns what an hour of this agent's GPU costs; None: its settings do not say which one it is."""
    if settings.gpu_hour_usd is not None:
        return GpuPrice(settings.gpu_hour_usd, "GPU_HOUR_USD")
    if not settings.gpu_instance_type:
        return None
    # The prices take a while to import, and most agents need none.
    from contract.gpu_prices import default_price  # noqa: PLC0415
    from contract.prices import Capacity  # noqa: PLC0415

    return default_price(
        region=settings.aws_region,
        instance=settings.gpu_instance_type,
        capacity=Capacity(settings.gpu_capacity),
        gpus=settings.gpus_per_instance,
    )

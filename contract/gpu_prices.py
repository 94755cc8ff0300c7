"""What an hour of one GPU costs, by a price table of its region."""

from __future__ import annotations

from contract.costs import GpuPrice
from contract.prices import Capacity, PricesError, PriceTable, load_prices


def price_in(table: PriceTable, *, region: str, instance: str, capacity: Capacity, gpus: int = 1) -> GpuPrice:
    """Returns the price of one GPU of an instance that has so many; None where the table does not know it."""
    wanted = f"{instance} {capacity.replace('_', '-')} in {region}"
    if region != table.region:
        return GpuPrice(None, f"no price of {wanted}: the table is that of {table.region}")
    try:
        usd = table.instance_hour(instance, capacity)
    except PricesError:
        return GpuPrice(None, f"no price of {wanted} in the table of {table.as_of}")
    return GpuPrice(usd / gpus, f"{wanted}, {table.as_of}" + (f", one of {gpus} GPUs" if gpus > 1 else ""))


def default_price(*, region: str, instance: str, capacity: Capacity, gpus: int = 1) -> GpuPrice:
    """Returns the same by the table that comes with this version."""
    return price_in(load_prices(), region=region, instance=instance, capacity=capacity, gpus=gpus)

"""Judges whether account and region have room for the GPUs that a config may ask for; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud.chart_values import values_in_force
from cloud.deployment.limits import link
from contract.config import Config

SPOT: Final = "L-3819A6DF"
"""EC2's quota "All G and VT Spot Instance Requests", in vCPUs (003, "Service Quotas")."""

ON_DEMAND: Final = "L-DB2E81BA"
"""EC2's quota "Running On-Demand G and VT instances", in vCPUs (003, "Service Quotas")."""

_COUNTED: Final = ("g", "vt")
"""How the names of the instance types begin that these quotas count."""

LABELS: Final = {SPOT: "All G and VT Spot Instance Requests", ON_DEMAND: "Running On-Demand G and VT instances"}


@dataclass(frozen=True)
class Demand:
    """What one runtime may ask for."""

    runtime: str
    instance_types: tuple[str, ...]
    pods: int
    """The most; one GPU each."""
    spot: bool
    on_demand: bool


@dataclass(frozen=True)
class Judgement:
    """What keeps a deployment from working, and what keeps it from growing as wished."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def demands(config: Config) -> list[Demand]:
    """Returns what each runtime may ask for, by its values and the chart's defaults."""
    found = []
    for runtime in config.runtimes:
        values = values_in_force(runtime)
        provisioner: Mapping[str, Any] = values["karpenter"]["provisioner"]
        scaling: Mapping[str, Any] = values["runtime"]["scaling"]
        found.append(
            Demand(
                runtime=runtime.name,
                instance_types=tuple(provisioner["instanceType"]),
                pods=int(scaling["maxReplicaCount"] if scaling["enabled"] else values["runtime"]["replicas"]),
                spot=bool(provisioner["capacityType"]["spot"]),
                on_demand=bool(provisioner["capacityType"]["onDemand"]),
            )
        )
    return found


def judge(
    wanted: Sequence[Demand], *, vcpus: Mapping[str, int], quotas: Mapping[str, float | None], region: str
) -> Judgement:
    """Returns what to say about a region's instance types and an account's quotas.

    Args:
        wanted: by runtime.
        vcpus: by instance type; only those that the region offers.
        quotas: in vCPUs, by code; None: could not be asked.
        region: named in what is said.
    """
    errors, warnings = [], []
    for demand in wanted:
        offered = [kind for kind in demand.instance_types if kind in vcpus]
        if not offered:
            errors.append(
                f"{demand.runtime}: {region} offers none of {', '.join(demand.instance_types)}; name others, such as "
                "g4dn.xlarge, in extraValues.karpenter.provisioner.instanceType"
            )
    offering = [item for item in wanted if any(kind in vcpus for kind in item.instance_types)]
    # Other families have other quotas, which EC2 will speak of itself.
    capable = [
        item for item in offering if all(kind.startswith(_COUNTED) for kind in item.instance_types if kind in vcpus)
    ]
    if any(value is None for value in quotas.values()):
        warnings.append("the quotas cannot be read (servicequotas:GetServiceQuota); look at them in the console")
    for demand in capable:
        allowed = [quotas.get(code) for code, wish in ((SPOT, demand.spot), (ON_DEMAND, demand.on_demand)) if wish]
        if not allowed or any(quota is None for quota in allowed):
            continue
        room = max(quota for quota in allowed if quota is not None)
        smallest = min(vcpus[kind] for kind in demand.instance_types if kind in vcpus)
        if room < smallest:
            errors.append(
                f"{demand.runtime}: no GPU can start: {_names(demand)} allow {room:g} vCPUs, the smallest instance has "
                f"{smallest}; ask for more at {_links(demand, region)}"
            )
    first = sum(min(vcpus[kind] for kind in item.instance_types if kind in vcpus) for item in capable)
    codes = {code for item in capable for code in _codes(item)}
    rooms = [quotas.get(code) for code in codes]
    if not errors and rooms and None not in rooms and sum(room for room in rooms if room is not None) < first:
        errors.append(
            f"the first images need a node for each of {len(capable)} runtimes, {first} vCPUs together, and the quotas "
            f"allow {sum(room for room in rooms if room is not None):g}: ask for {first} at "
            f"{link(region, 'ec2', min(codes))}, or deploy one runtime with --runtime-name"
        )
    total = sum(item.pods * min(vcpus[kind] for kind in item.instance_types if kind in vcpus) for item in capable)
    known = [quota for quota in quotas.values() if quota is not None]
    if not errors and known and max(known) < total:
        warnings.append(
            f"all runtimes at their most would use {total} vCPUs; the larger of the quotas {SPOT} and {ON_DEMAND} is "
            f"{max(known):g}: they will not all reach maxReplicaCount at once"
        )
    return Judgement(tuple(errors), tuple(warnings))


def _codes(demand: Demand) -> list[str]:
    return [code for code, wish in ((SPOT, demand.spot), (ON_DEMAND, demand.on_demand)) if wish]


def _links(demand: Demand, region: str) -> str:
    return " or ".join(link(region, "ec2", code) for code in _codes(demand))


def _names(demand: Demand) -> str:
    return " and ".join(repr(LABELS[code]) for code in _codes(demand))

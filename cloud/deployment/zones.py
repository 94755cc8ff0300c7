"""Chooses the availability zones of a network: those that EKS takes, and where GPUs are offered; no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from cloud.aws import ToolError

NOT_FOR_EKS: Final = frozenset({"use1-az3", "usw1-az2", "cac1-az3"})
"""Zones, by id, in which EKS makes no cluster (Amazon EKS, "VPC and subnet requirements")."""

MOST: Final = 3
FEWEST: Final = 2
"""EKS and the load balancer want two at least."""


def choose(zones: Mapping[str, str], offering: Collection[str], *, region: str) -> list[str]:
    """Returns the zones that a new network is to have, three or else two, in the order of their names.

    Args:
        zones: those that the account may use: their ids, such as use1-az1, by their names, such as us-east-1a.
        offering: the names of those in which an instance type of the runtimes is offered.
        region: named in the error.

    Raises:
        ToolError: there are not enough.
    """
    possible = [name for name in sorted(zones) if zones[name] not in NOT_FOR_EKS]
    if len(possible) < FEWEST:
        raise ToolError(
            f"{region} has {len(possible)} zones that EKS takes, and two are needed: choose another --region"
        )
    first = [name for name in possible if name in offering]
    return sorted([*first, *(name for name in possible if name not in offering)][:MOST])


def refuse(named: Sequence[str], zones: Mapping[str, str]) -> None:
    """Looks at zones that the config names.

    Raises:
        ToolError: one does not exist for this account, or EKS does not take it.
    """
    usable = ", ".join(name for name in sorted(zones) if zones[name] not in NOT_FOR_EKS)
    for name in named:
        if name not in zones:
            raise ToolError(f"cloud.availabilityZones: this account has no zone {name}; it may use {usable}")
        if zones[name] in NOT_FOR_EKS:
            raise ToolError(
                f"cloud.availabilityZones: EKS takes no cluster in {name} ({zones[name]}); write others of {usable}"
            )


def keep(named: Sequence[str], there: Sequence[str]) -> list[str]:
    """Returns the zones of a network that exists: they stay.

    A subnet that changes its zone is made anew, with addresses that the old one still has.

    Raises:
        ToolError: the config names others.
    """
    if named and list(named) != list(there):
        raise ToolError(
            f"cloud.availabilityZones: the network is in {', '.join(there)}, and cannot move while anything is in it; "
            f"write [{', '.join(there)}], or `destroy` the deployment first"
        )
    return list(there)

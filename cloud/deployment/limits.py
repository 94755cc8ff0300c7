"""Judges the quotas besides GPUs: what a deployment adds, what is there, and where to ask for more; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Limit:
    """A quota of an account in a region (003, "Service Quotas"; its number as AWS gives it to a new account)."""

    service: str
    code: str
    label: str


STANDARD: Final = Limit("ec2", "L-1216C47A", "Running On-Demand Standard instances, in vCPUs")
ADDRESSES: Final = Limit("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs")
VPCS: Final = Limit("vpc", "L-F678F1CE", "VPCs per Region")
GATEWAYS: Final = Limit("vpc", "L-FE5A380F", "NAT gateways per Availability Zone")
BUCKETS: Final = Limit("s3", "L-DC2B2D3D", "General purpose buckets")
BALANCERS: Final = Limit("elasticloadbalancing", "L-53DA6B97", "Application Load Balancers per Region")
FARGATE: Final = Limit("fargate", "L-3032A538", "Fargate On-Demand vCPU resource count")
PUBLISHED: Final = Limit("sns", "L-F8E2BA85", "Messages Published per Second")


@dataclass(frozen=True)
class Need:
    """How much of a quota a deployment adds, and how much others use."""

    limit: Limit
    adds: int
    used: int


def link(region: str, service: str, code: str) -> str:
    """Returns the address of the page on which a quota is raised."""
    host = "console.amazonaws.cn" if region.startswith("cn-") else f"{region}.console.aws.amazon.com"
    return f"https://{host}/servicequotas/home/services/{service}/quotas/{code}"


def faults(needs: list[Need], allowed: dict[str, float | None], *, region: str) -> list[str]:
    """Returns a line for each quota that does not suffice: the number needed, the number there, and the way to more.

    Args:
        needs: what is added; nothing is missing where nothing is.
        allowed: the quotas by code; None: not to be found out.
        region: of the links.
    """
    found = []
    for need in needs:
        quota = allowed.get(need.limit.code)
        if need.adds and quota is not None and need.used + need.adds > quota:
            found.append(
                f"{need.limit.label}: {need.adds} more are needed, {need.used} of {quota:g} are in use; ask for "
                f"{need.used + need.adds} at {link(region, need.limit.service, need.limit.code)}"
            )
    return found

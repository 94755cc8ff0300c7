"""Asks the account for zones and for what it uses of its quotas, before anything is made."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from ipaddress import IPv4Network
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError

from cloud import names
from cloud.aws import Aws, ToolError
from cloud.deployment import limits, zones
from cloud.deployment.quotas import demands
from cloud.deployment.settings import with_zones
from cloud.deployment.steps import Work
from cloud.image_cache.ensure import INSTANCE_TYPE
from cloud.outputs import find_stack

_STANDARD: Final = "acdhimrtz"
"""How the names of the instance types begin that the quota for standard instances counts."""

_COMPONENTS: Final = 2
"""Nodes for the cluster's own components; see `cloud/constructs/cluster.py`."""

_VCPUS: Final = {INSTANCE_TYPE: 2}
"""Of the components' nodes, and of the image cache's builder (Amazon EC2, "M5 instances")."""


def check_region(work: Work) -> None:
    """Looks whether there is such a region.

    Raises:
        ToolError: there is not; names the one that may have been meant.
    """
    region, session = work.aws.region, boto3.Session()
    known = [name for part in session.get_available_partitions() for name in session.get_available_regions("ec2", part)]
    if region in known:
        work.report.detail(region)
        return
    close = difflib.get_close_matches(region, known, n=1, cutoff=0.6)
    meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
    raise ToolError(f"there is no region {region!r}; {meant}")


def check_zones(work: Work) -> None:
    """Chooses the network's zones, and notes them in the config; those of a network that exists stay.

    Raises:
        ToolError: EKS takes too few, or not those that the config names.
    """
    named = work.config.cloud.availability_zones
    there = _zones_of(work.aws, names.network_stack(work.config))
    if there:
        chosen = zones.keep(named, there)
    else:
        usable = _usable(work.aws)
        if named:
            zones.refuse(named, usable)
        chosen = list(named) or zones.choose(usable, _offering(work), region=work.aws.region)
    work.config = with_zones(work.config, chosen)
    work.report.detail(", ".join(chosen))


def check_limits(work: Work) -> None:
    """Compares what a first deployment adds with the account's quotas; one that exists has it already.

    Raises:
        ToolError: one does not suffice; the text has the number needed and the link.
    """
    needs = _needs(work)
    quotas = {need.limit.code: quota_of(work.aws, need.limit.service, need.limit.code) for need in needs if need.adds}
    if found := limits.faults(needs, quotas, region=work.aws.region):
        raise ToolError("\n".join(found))


def quota_of(aws: Aws, service: str, code: str) -> float | None:
    """Returns an account's quota, or else the one that every account has; None: not to be found out."""
    client = aws.client("service-quotas")
    for ask in (client.get_service_quota, client.get_aws_default_service_quota):
        try:
            return float(ask(ServiceCode=service, QuotaCode=code)["Quota"]["Value"])
        except ClientError:
            # Not every operator may read them, and not every quota was ever changed; that is no reason to stop.
            continue
    return None


def _needs(work: Work) -> list[limits.Need]:
    aws, ec2 = work.aws, work.aws.client("ec2")
    network = find_stack(aws, names.network_stack(work.config)) is None
    cluster = find_stack(aws, names.main_stack(work.config)) is None
    gateways = min(work.config.cloud.nat_gateways, len(work.config.cloud.availability_zones) or zones.MOST)
    buckets = [item["Name"] for item in aws.client("s3").list_buckets()["Buckets"]]
    mine = {work.config.model_bucket, work.config.cloud.output_bucket} - {""}
    sample = work.config.cloud.sample.enabled and find_stack(aws, names.sample_stack(work.config)) is None
    builder, nodes = _VCPUS[INSTANCE_TYPE], _COMPONENTS * _VCPUS[INSTANCE_TYPE]
    return [
        limits.Need(limits.VPCS, int(network), len(ec2.describe_vpcs()["Vpcs"])),
        limits.Need(limits.ADDRESSES, gateways * network, len(ec2.describe_addresses()["Addresses"])),
        limits.Need(limits.GATEWAYS, int(network), _gateways_of_a_zone(ec2)),
        limits.Need(limits.STANDARD, nodes * cluster + builder, _standard_vcpus(ec2)),
        limits.Need(limits.BUCKETS, len(mine - set(buckets)), len(buckets)),
        limits.Need(limits.BALANCERS, int(sample), _application_balancers(aws) if sample else 0),
        # Of one that is in use, EC2 says nothing: what is missing then, ECS will say.
        limits.Need(limits.FARGATE, int(sample), 0),
    ]


def _application_balancers(aws: Aws) -> int:
    pages = aws.client("elbv2").get_paginator("describe_load_balancers").paginate()
    return sum(item["Type"] == "application" for page in pages for item in page["LoadBalancers"])


def _usable(aws: Aws) -> dict[str, str]:
    found = aws.client("ec2").describe_availability_zones(
        Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}, {"Name": "state", "Values": ["available"]}]
    )["AvailabilityZones"]
    return {item["ZoneName"]: str(item.get("ZoneId", "")) for item in found}


def _offering(work: Work) -> set[str]:
    kinds = sorted({kind for demand in demands(work.config) for kind in demand.instance_types})
    pages = work.aws.client("ec2").get_paginator("describe_instance_type_offerings")
    return {
        item["Location"]
        for page in pages.paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": kinds[:100]}]
        )
        for item in page["InstanceTypeOfferings"]
    }


def _zones_of(aws: Aws, stack: str) -> list[str]:
    """Returns the zones of the subnets of a stack in the order of their addresses; empty: there are none."""
    if find_stack(aws, stack) is None:
        return []
    subnets = [
        item["PhysicalResourceId"]
        for page in aws.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=stack)
        for item in page["StackResourceSummaries"]
        if item["ResourceType"] == "AWS::EC2::Subnet" and item.get("PhysicalResourceId")
    ]
    if not subnets:
        return []
    found = aws.client("ec2").describe_subnets(SubnetIds=subnets)["Subnets"]
    found.sort(key=lambda item: IPv4Network(item["CidrBlock"]))
    return list(dict.fromkeys(item["AvailabilityZone"] for item in found))


def _gateways_of_a_zone(ec2: Any) -> int:
    """Returns how many NAT gateways there are in the zone that has most of them."""
    gateways = ec2.describe_nat_gateways()["NatGateways"]
    subnets = [item["SubnetId"] for item in gateways if item["State"] in {"pending", "available"}]
    if not subnets:
        return 0
    zone_of = {
        item["SubnetId"]: item["AvailabilityZone"]
        for item in ec2.describe_subnets(SubnetIds=sorted(set(subnets)))["Subnets"]
    }
    used = [zone_of.get(subnet) for subnet in subnets]
    return max(map(used.count, set(used)))


def _standard_vcpus(ec2: Any) -> int:
    def vcpus(instance: Mapping[str, Any]) -> int:
        options = instance.get("CpuOptions", {})
        return int(options.get("CoreCount", 1)) * int(options.get("ThreadsPerCore", 1))

    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    return sum(
        vcpus(instance)
        for page in pages
        for found in page["Reservations"]
        for instance in found["Instances"]
        if instance["InstanceType"].startswith(tuple(_STANDARD)) and "InstanceLifecycle" not in instance
    )

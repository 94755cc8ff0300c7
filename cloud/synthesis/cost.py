"""Counts, in the templates, what costs money all month whatever the load; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from rich.table import Table

from contract.prices import Fixed, Line, PriceTable, bill, fixed_usage, total

type Template = Mapping[str, Any]


def fixed_of(templates: Iterable[Template], *, snapshot_gib: int = 0) -> Fixed:
    """Returns what runs all month, as the templates have it.

    Args:
        templates: of CloudFormation, as JSON.
        snapshot_gib: of the image cache, which is made outside of them.

    Raises:
        ValueError: there is not exactly one node group for the components.
    """
    resources = [item for template in templates for item in template.get("Resources", {}).values()]

    def count(kind: str) -> int:
        return sum(item["Type"] == kind for item in resources)

    (nodes,) = [item["Properties"] for item in resources if item["Type"] == "AWS::EKS::Nodegroup"]
    return Fixed(
        system_nodes=int(nodes["ScalingConfig"]["DesiredSize"]),
        system_instance=str(nodes["InstanceTypes"][0]),
        nat_gateways=count("AWS::EC2::NatGateway"),
        load_balancers=count("AWS::ElasticLoadBalancingV2::LoadBalancer"),
        load_balancer_addresses=_public_addresses(resources),
        fargate_vcpus=_fargate(resources, "Cpu"),
        fargate_gb=_fargate(resources, "Memory"),
        system_volume_gib=_volumes_gib(resources, nodes),
        alarms=sum(_metrics(item) for item in resources if item["Type"] == "AWS::CloudWatch::Alarm"),
        metrics=_custom_metrics(resources),
        dashboards=count("AWS::CloudWatch::Dashboard"),
        keys=count("AWS::KMS::Key"),
        secrets=count("AWS::SecretsManager::Secret"),
        snapshot_gib=snapshot_gib,
    )


def _public_addresses(resources: list[Template]) -> int:
    balancers = [
        item["Properties"] for item in resources if item["Type"] == "AWS::ElasticLoadBalancingV2::LoadBalancer"
    ]
    return sum(len(item["Subnets"]) for item in balancers if item["Scheme"] == "internet-facing")


def _fargate(resources: list[Template], of: str) -> Decimal:
    """Returns how many vCPUs (`Cpu`) or GB (`Memory`) all tasks on Fargate have: each service has one kind of them."""
    tasks = [item["Properties"] for item in resources if item["Type"] == "AWS::ECS::TaskDefinition"]
    services = [item["Properties"] for item in resources if item["Type"] == "AWS::ECS::Service"]
    size = sum((Decimal(task[of]) / 1024 for task in tasks), Decimal(0))
    return size * sum(int(item["DesiredCount"]) for item in services)


def _metrics(alarm: Template) -> int:
    """Returns how many metrics an alarm reads: each is billed (Amazon CloudWatch, "Pricing")."""
    asked = alarm["Properties"].get("Metrics", [])
    return sum("MetricStat" in item for item in asked) or 1


def _custom_metrics(resources: list[Template]) -> int:
    """Returns how many metrics are made of log lines: where they have a dimension, those that somebody reads."""
    found = set()
    for item in resources:
        if item["Type"] == "AWS::Logs::MetricFilter":
            (made,) = item["Properties"]["MetricTransformations"]
            dimensions = made.get("Dimensions", [])
            found |= {
                (made["MetricName"], read.get("Value", ""))
                for read in (_read_dimensions(resources, made["MetricName"]) if dimensions else [{}])
            }
    return len(found)


def _read_dimensions(resources: list[Template], name: str) -> list[Template]:
    stats = [
        query["MetricStat"]["Metric"]
        for item in resources
        if item["Type"] == "AWS::CloudWatch::Alarm"
        for query in item["Properties"].get("Metrics", [])
        if "MetricStat" in query
    ]
    return [dimension for stat in stats if stat["MetricName"] == name for dimension in stat["Dimensions"]]


def _volumes_gib(resources: list[Template], nodes: Template) -> int:
    """Returns the size of all volumes of a node of the components, as its launch template has them."""
    templates = [item for item in resources if item["Type"] == "AWS::EC2::LaunchTemplate"]
    (own,) = [
        item["Properties"]["LaunchTemplateData"]
        for item in templates
        if "BlockDeviceMappings" in item["Properties"]["LaunchTemplateData"]
    ] or [{"BlockDeviceMappings": []}]
    found = [int(volume["Ebs"]["VolumeSize"]) for volume in own["BlockDeviceMappings"]]
    return sum(found) or int(nodes["DiskSize"])


def monthly_bill(fixed: Fixed, prices: PriceTable) -> Table:
    """Returns the bill of a month in which nobody asks for an image.

    Raises:
        contract.prices.PricesError: the table lacks a price.
    """
    lines = bill(fixed_usage(fixed), prices)
    table = Table("service", "per month", "quantity", "unit price", "USD", title="fixed cost", title_justify="left")
    for line in lines:
        table.add_row(*_cells(line))
    table.add_section()
    table.add_row("total", "", "", "", f"{total(lines):,.2f}")
    return table


def _cells(line: Line) -> tuple[str, ...]:
    return line.service, line.dimension, f"{line.quantity:g}", f"{line.unit_price:g}", f"{line.total:,.2f}"

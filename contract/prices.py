"""What a month on AWS costs: a dated price table, and pure functions from usage to the lines of a bill.

The method is the one of the reference design's published cost table: quantity × unit price, each line rounded to the
cent, no free tier, a month of 720 hours. `reference_bill` gives that very table, and says where its arithmetic is odd.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.config import describe_yaml_error
from contract.progress import progress_writes

HOURS_PER_MONTH: Final = 720
"""As the reference counts: $72.00 for a cluster at $0.10 an hour."""

TABLES: Final = Path(__file__).with_name("price_tables")
DEFAULT_TABLE: Final = TABLES / "2026-03.yaml"
REFERENCE_TABLE: Final = TABLES / "2024-04.yaml"

_CENT: Final = Decimal("0.01")
_KIB_PER_GIB: Final = 1024 * 1024


class PricesError(Exception):
    """A price table that cannot be used, or lacks a price; the text names the file and the key."""


class Capacity(StrEnum):
    """How an instance is paid for."""

    SPOT = "spot"
    ON_DEMAND = "on_demand"


class Item(StrEnum):
    """What is charged for, other than instances; the name says the unit."""

    EKS_CLUSTER_HOUR = "eks_cluster_hour"
    API_GATEWAY_MILLION_REQUESTS = "api_gateway_million_requests"
    LAMBDA_GB_SECOND = "lambda_gb_second"
    LAMBDA_MILLION_REQUESTS = "lambda_million_requests"
    SNS_MILLION_REQUESTS = "sns_million_requests"
    SNS_TRANSFER_GIB = "sns_transfer_gib"
    SQS_MILLION_REQUESTS = "sqs_million_requests"
    S3_THOUSAND_PUTS = "s3_thousand_puts"
    S3_THOUSAND_GETS = "s3_thousand_gets"
    S3_GIB_MONTH = "s3_gib_month"
    NAT_GATEWAY_HOUR = "nat_gateway_hour"
    NAT_GATEWAY_GIB = "nat_gateway_gib"
    PUBLIC_IPV4_HOUR = "public_ipv4_hour"
    LOAD_BALANCER_HOUR = "load_balancer_hour"
    FARGATE_VCPU_HOUR = "fargate_vcpu_hour"
    FARGATE_GB_HOUR = "fargate_gb_hour"
    EBS_GP3_GIB_MONTH = "ebs_gp3_gib_month"
    EBS_GP3_IOPS_MONTH = "ebs_gp3_iops_month"
    EBS_GP3_THROUGHPUT_MIB_MONTH = "ebs_gp3_throughput_mib_month"
    EBS_SNAPSHOT_GIB_MONTH = "ebs_snapshot_gib_month"
    CLOUDWATCH_ALARM_MONTH = "cloudwatch_alarm_month"
    CLOUDWATCH_METRIC_MONTH = "cloudwatch_metric_month"
    CLOUDWATCH_DASHBOARD_MONTH = "cloudwatch_dashboard_month"
    KMS_KEY_MONTH = "kms_key_month"
    SECRET_MONTH = "secret_month"  # noqa: S105 - a price


_LABELS: Final[Mapping[Item, tuple[str, str]]] = {
    Item.EKS_CLUSTER_HOUR: ("Amazon EKS", "cluster, per hour"),
    Item.API_GATEWAY_MILLION_REQUESTS: ("Amazon API Gateway", "per 1M REST API requests"),
    Item.LAMBDA_GB_SECOND: ("AWS Lambda", "per GB-second"),
    Item.LAMBDA_MILLION_REQUESTS: ("AWS Lambda", "per 1M requests"),
    Item.SNS_MILLION_REQUESTS: ("Amazon SNS", "per 1M requests"),
    Item.SNS_TRANSFER_GIB: ("Amazon SNS", "data transfer, per GB"),
    Item.SQS_MILLION_REQUESTS: ("Amazon SQS", "per 1M requests"),
    Item.S3_THOUSAND_PUTS: ("Amazon S3", "per 1K PUT requests"),
    Item.S3_THOUSAND_GETS: ("Amazon S3", "per 1K GET requests"),
    Item.S3_GIB_MONTH: ("Amazon S3", "per GB and month"),
    Item.NAT_GATEWAY_HOUR: ("Amazon VPC", "NAT gateway, per hour"),
    Item.NAT_GATEWAY_GIB: ("Amazon VPC", "NAT gateway, per GB"),
    Item.PUBLIC_IPV4_HOUR: ("Amazon VPC", "public IPv4 address, per hour"),
    Item.LOAD_BALANCER_HOUR: ("Elastic Load Balancing", "load balancer, per hour"),
    Item.FARGATE_VCPU_HOUR: ("AWS Fargate", "vCPU, per hour"),
    Item.FARGATE_GB_HOUR: ("AWS Fargate", "GB of memory, per hour"),
    Item.EBS_GP3_GIB_MONTH: ("Amazon EBS", "gp3 volume, per GB and month"),
    Item.EBS_GP3_IOPS_MONTH: ("Amazon EBS", "gp3 IOPS above 3,000, per month"),
    Item.EBS_GP3_THROUGHPUT_MIB_MONTH: ("Amazon EBS", "gp3 MiB/s above 125, per month"),
    Item.EBS_SNAPSHOT_GIB_MONTH: ("Amazon EBS", "snapshot, per GB and month"),
    Item.CLOUDWATCH_ALARM_MONTH: ("Amazon CloudWatch", "metric of an alarm, per month"),
    Item.CLOUDWATCH_METRIC_MONTH: ("Amazon CloudWatch", "custom metric, per month"),
    Item.CLOUDWATCH_DASHBOARD_MONTH: ("Amazon CloudWatch", "dashboard, per month"),
    Item.KMS_KEY_MONTH: ("AWS Key Management Service", "key, per month"),
    Item.SECRET_MONTH: ("AWS Secrets Manager", "secret, per month"),
}

_Usd = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """One unit price."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: _Usd
    source: str = ""
    """Empty: the table's own."""


class PriceTable(BaseModel):
    """Unit prices of one region at one date."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: str
    as_of: date
    source: Annotated[str, Field(min_length=1)]
    instances: dict[str, dict[Capacity, _Usd]]
    """USD per hour, by instance type and kind of capacity."""
    prices: dict[Item, Price]

    def instance_hour(self, instance: str, capacity: Capacity) -> Decimal:
        """Returns USD per hour.

        Raises:
            PricesError: the table has no such price.
        """
        price = self.instances.get(instance, {}).get(capacity)
        if price is None:
            known = ", ".join(f"{name} {kind}" for name, kinds in self.instances.items() for kind in kinds)
            raise PricesError(
                f"the price table of {self.as_of} has no {capacity} price for {instance}: "
                f"add instances.{instance}.{capacity} to it; it has {known}"
            )
        return price

    def unit(self, item: Item) -> Decimal:
        """Returns USD per unit.

        Raises:
            PricesError: the table has no such price.
        """
        price = self.prices.get(item)
        if price is None:
            raise PricesError(f"the price table of {self.as_of} has no price for {item}: add prices.{item} to it")
        return price.usd


def load_prices(path: Path = DEFAULT_TABLE) -> PriceTable:
    """Reads a price table.

    Raises:
        PricesError: it cannot be read or is wrong; one line for each fault.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return PriceTable.model_validate(document)
    except OSError as error:
        raise PricesError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PricesError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        raise PricesError(f"{path}: is not YAML: {describe_yaml_error(error)}") from error
    except ValidationError as error:
        faults = [
            f"{path}: {'.'.join(str(part) for part in item['loc']) or 'the table'}: {item['msg']}"
            for item in error.errors(include_url=False)
        ]
        raise PricesError("\n".join(faults)) from error


@dataclass(frozen=True)
class Line:
    """One line of a bill."""

    service: str
    dimension: str
    quantity: Decimal
    unit_price: Decimal
    total: Decimal
    """USD, whole cents."""


def total(lines: Iterable[Line]) -> Decimal:
    """Returns the sum in USD."""
    return sum((line.total for line in lines), Decimal(0))


def by_service(lines: Iterable[Line]) -> dict[str, Decimal]:
    """Returns USD by AWS service, in the order of the lines."""
    sums: dict[str, Decimal] = {}
    for line in lines:
        sums[line.service] = sums.get(line.service, Decimal(0)) + line.total
    return sums


@dataclass(frozen=True)
class PerImage:
    """What one image asks of AWS besides the GPU."""

    api_requests: int = 1
    lambda_requests: int = 0
    lambda_gb_seconds: Decimal = Decimal(0)
    sns_publishes: int = 2
    """The task and the callback; a request of over 64 KB counts as several."""
    sns_transfer_kib: Decimal = Decimal(0)
    """What SNS sends out of AWS; nothing when callbacks go to SQS or Lambda."""
    sqs_requests: int = 3
    """SNS's delivery, the agent's receive and delete. What scaler and idle agents ask besides is booked by time."""
    s3_puts: int = 5
    """Image, the runtime's full answer, and the record: queued, running, ended. `per_image` adds its progress."""
    s3_gets: int = 1
    """The agent's first look at the record."""
    stored_kib: Decimal = Decimal(150)
    """Kept for a month; the reference's mean image."""


def per_image(seconds: float) -> PerImage:
    """Returns what an image of so many GPU seconds asks of AWS.

    The agent looks at a task's record every second, for a cancel, while it runs and while it waits behind another one;
    some looks at a running one are writes of its progress. Counted between an agent and LocalStack: 5 PUTs for an image
    of 1.5 s, 7 for one of 9 s.
    """
    whole, writes = int(seconds), progress_writes(seconds)
    return PerImage(s3_puts=PerImage.s3_puts + writes, s3_gets=PerImage.s3_gets + 2 * whole - writes)


@dataclass(frozen=True)
class Usage:
    """What is used in a month."""

    instance_hours: Mapping[tuple[str, Capacity], float | Decimal] = field(default_factory=dict)
    quantities: Mapping[Item, float | Decimal] = field(default_factory=dict)
    """In the units of the price."""


def requests_of(images: int, each: PerImage | None = None) -> dict[Item, Decimal]:
    """Returns the quantities that so many images a month need besides the GPU."""
    each, count = each or PerImage(), Decimal(images)
    million, thousand = Decimal(1_000_000), Decimal(1_000)
    quantities = {
        Item.API_GATEWAY_MILLION_REQUESTS: count * each.api_requests / million,
        Item.LAMBDA_GB_SECOND: count * each.lambda_gb_seconds,
        Item.LAMBDA_MILLION_REQUESTS: count * each.lambda_requests / million,
        Item.SNS_MILLION_REQUESTS: count * each.sns_publishes / million,
        Item.SNS_TRANSFER_GIB: count * each.sns_transfer_kib / _KIB_PER_GIB,
        Item.SQS_MILLION_REQUESTS: count * each.sqs_requests / million,
        Item.S3_THOUSAND_PUTS: count * each.s3_puts / thousand,
        Item.S3_THOUSAND_GETS: count * each.s3_gets / thousand,
        Item.S3_GIB_MONTH: count * each.stored_kib / _KIB_PER_GIB,
    }
    return {item: quantity for item, quantity in quantities.items() if quantity}


@dataclass(frozen=True)
class Fixed:
    """What runs all month, whatever the load."""

    system_nodes: int = 2
    system_instance: str = "m5.large"
    nat_gateways: int = 3
    """Each with a public IPv4 address."""
    load_balancers: int = 1
    load_balancer_addresses: int = 0
    """Public IPv4 addresses of load balancers, one in each zone."""
    fargate_vcpus: Decimal = Decimal(0)
    fargate_gb: Decimal = Decimal(0)
    system_volume_gib: int = 44
    """Of each system node: Bottlerocket's two volumes."""
    snapshot_gib: int = 0
    """The image cache."""
    alarms: int = 0
    """Metrics that alarms read; each is billed, not each alarm."""
    metrics: int = 0
    """Custom ones, of the log lines that are counted."""
    dashboards: int = 0
    keys: int = 0
    """Of KMS, but for AWS's own."""
    secrets: int = 0


def fixed_usage(fixed: Fixed) -> Usage:
    """Returns what a month of it uses."""
    hours = Decimal(HOURS_PER_MONTH)
    quantities = {
        Item.EKS_CLUSTER_HOUR: hours,
        Item.NAT_GATEWAY_HOUR: hours * fixed.nat_gateways,
        Item.PUBLIC_IPV4_HOUR: hours * (fixed.nat_gateways + fixed.load_balancer_addresses),
        Item.LOAD_BALANCER_HOUR: hours * fixed.load_balancers,
        Item.FARGATE_VCPU_HOUR: hours * fixed.fargate_vcpus,
        Item.FARGATE_GB_HOUR: hours * fixed.fargate_gb,
        Item.EBS_GP3_GIB_MONTH: Decimal(fixed.system_nodes * fixed.system_volume_gib),
        Item.EBS_SNAPSHOT_GIB_MONTH: Decimal(fixed.snapshot_gib),
        Item.CLOUDWATCH_ALARM_MONTH: Decimal(fixed.alarms),
        Item.CLOUDWATCH_METRIC_MONTH: Decimal(fixed.metrics),
        Item.CLOUDWATCH_DASHBOARD_MONTH: Decimal(fixed.dashboards),
        Item.KMS_KEY_MONTH: Decimal(fixed.keys),
        Item.SECRET_MONTH: Decimal(fixed.secrets),
    }
    return Usage(
        instance_hours={(fixed.system_instance, Capacity.ON_DEMAND): hours * fixed.system_nodes},
        quantities={item: quantity for item, quantity in quantities.items() if quantity},
    )


def bill(usage: Usage, table: PriceTable) -> tuple[Line, ...]:
    """Returns the lines for what is used in a month, the instances first.

    Raises:
        PricesError: the table lacks a price.
    """
    lines = [
        _line(
            "Amazon EC2",
            f"{instance} {'Spot' if capacity is Capacity.SPOT else 'On-Demand'} instance, per hour",
            Decimal(hours),
            table.instance_hour(instance, capacity),
        )
        for (instance, capacity), hours in usage.instance_hours.items()
    ]
    lines += [_line(*_LABELS[item], Decimal(quantity), table.unit(item)) for item, quantity in usage.quantities.items()]
    return tuple(lines)


def _line(service: str, dimension: str, quantity: Decimal, unit_price: Decimal, rounding: str = ROUND_HALF_UP) -> Line:
    amount = (quantity * unit_price).quantize(_CENT, rounding=rounding)
    return Line(service, dimension, quantity, unit_price, amount)


@dataclass(frozen=True)
class ReferenceBill:
    """The reference design's published bill for one million images of 1.5 s a month."""

    variable: tuple[Line, ...]
    """As published, to the cent."""
    fixed: tuple[Line, ...]
    oddities: tuple[str, ...]
    """Where the published arithmetic does not hold, one sentence each."""


REFERENCE_IMAGES: Final = 1_000_000
REFERENCE_SECONDS: Final = Decimal("1.5")
REFERENCE_INSTANCE: Final = "g5.2xlarge"


def gpu_hours_at_full_use(images: int, seconds: Decimal) -> Decimal:
    """Returns the GPU hours of images of so many seconds each on GPUs that are never idle, to a hundredth."""
    return (images * seconds / 3600).quantize(_CENT)


def reference_bill() -> ReferenceBill:
    """Returns the published lines, computed from the published assumptions with the publication's own arithmetic."""
    table = load_prices(REFERENCE_TABLE)
    each = PerImage(
        lambda_requests=1,
        lambda_gb_seconds=Decimal("0.0125"),
        sns_transfer_kib=Decimal(8),
        sqs_requests=2,
        s3_puts=2,
        s3_gets=0,
    )
    hours = gpu_hours_at_full_use(REFERENCE_IMAGES, REFERENCE_SECONDS)
    usage = Usage({(REFERENCE_INSTANCE, Capacity.SPOT): hours}, requests_of(REFERENCE_IMAGES, each))
    variable = [_as_published(line) for line in bill(usage, table)]
    nodes = Fixed(nat_gateways=0, load_balancers=0, system_volume_gib=0)
    return ReferenceBill(variable=tuple(variable), fixed=bill(fixed_usage(nodes), table), oddities=_ODDITIES)


def _as_published(line: Line) -> Line:
    if line.service != "Amazon SNS":
        return line
    if line.dimension.startswith("per 1M"):  # two million requests, one of them charged
        return Line(line.service, line.dimension, line.quantity, line.unit_price, line.unit_price.quantize(_CENT))
    quantity = line.quantity.quantize(_CENT, rounding=ROUND_DOWN)
    return _line(line.service, line.dimension, quantity, line.unit_price, ROUND_DOWN)


_ODDITIES: Final = (
    "Amazon SNS requests: 2 × $0.50 is given as $0.50; it is $1.00.",
    "Amazon SNS data transfer: 7.62 GB is 8 KB an image, the footnote says 16; 7.62 × $0.09 is $0.69, given as $0.68.",
    "The text says $436.72 a month; its two tables add up to $226.18 + $210.24 = $436.42.",
    "416.67 GPU hours are 1,000,000 × 1.5 s: no GPU is ever idle, starts or loads a model.",
)

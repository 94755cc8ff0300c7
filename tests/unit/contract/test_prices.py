"""The bill: the reference's published lines to the cent, and sums that hold for any usage and any table."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.prices import (
    DEFAULT_TABLE,
    REFERENCE_TABLE,
    Capacity,
    Fixed,
    Item,
    PerImage,
    PricesError,
    Usage,
    bill,
    by_service,
    fixed_usage,
    load_prices,
    per_image,
    reference_bill,
    requests_of,
    total,
)

PUBLISHED = [
    ("Amazon EC2", "416.67", "0.4968", "207.00"),
    ("Amazon API Gateway", "1", "3.50", "3.50"),
    ("AWS Lambda", "12500", "0.0000166667", "0.21"),
    ("AWS Lambda", "1", "0.20", "0.20"),
    ("Amazon SNS", "2", "0.50", "0.50"),
    ("Amazon SNS", "7.62", "0.09", "0.68"),
    ("Amazon SQS", "2", "0.40", "0.80"),
    ("Amazon S3", "2000", "0.005", "10.00"),
    ("Amazon S3", "143.05", "0.023", "3.29"),
]
"""Service, quantity, unit price and total of the reference's table for one million images."""


@pytest.mark.parametrize(("position", "line"), list(enumerate(PUBLISHED)))
def test_the_references_published_lines_come_out_to_the_cent(position: int, line: tuple[str, str, str, str]) -> None:
    ours = reference_bill().variable[position]
    quantity = ours.quantity.quantize(Decimal("0.01"))
    assert (ours.service, quantity, ours.unit_price, ours.total) == (line[0], *(Decimal(part) for part in line[1:]))


def test_the_references_published_totals_come_out_to_the_cent() -> None:
    reference = reference_bill()
    assert len(reference.variable) == len(PUBLISHED)
    assert total(reference.variable) == Decimal("226.18")
    assert [str(line.total) for line in reference.fixed] == ["138.24", "72.00"]
    assert total(reference.fixed) == Decimal("210.24")


def test_without_the_publications_own_arithmetic_its_bill_is_51_cents_higher() -> None:
    each = PerImage(
        lambda_requests=1,
        lambda_gb_seconds=Decimal("0.0125"),
        sns_transfer_kib=Decimal(8),
        sqs_requests=2,
        s3_puts=2,
        s3_gets=0,
    )
    usage = Usage({("g5.2xlarge", Capacity.SPOT): Decimal("416.67")}, requests_of(1_000_000, each))
    assert total(bill(usage, load_prices(REFERENCE_TABLE))) - total(reference_bill().variable) == Decimal("0.51")


@pytest.mark.parametrize("path", [DEFAULT_TABLE, REFERENCE_TABLE])
def test_a_shipped_table_is_dated_sourced_and_named_after_its_date(path: Path) -> None:
    table = load_prices(path)
    assert path.stem == f"{table.as_of:%Y-%m}"
    assert table.source


def test_the_default_table_prices_everything_that_can_be_charged_for() -> None:
    table = load_prices()
    assert set(table.prices) == set(Item)
    assert len(bill(Usage(quantities=dict.fromkeys(Item, 1)), table)) == len(Item)


@given(
    hours=st.decimals(0, 10**7, places=3),
    quantities=st.dictionaries(st.sampled_from(Item), st.decimals(0, 10**6, places=3)),
)
def test_a_bill_is_the_sum_of_its_services_and_of_its_lines(hours: Decimal, quantities: dict[Item, Decimal]) -> None:
    lines = bill(Usage({("g6.2xlarge", Capacity.SPOT): hours}, quantities), load_prices())
    assert len(lines) == 1 + len(quantities)
    assert sum(by_service(lines).values()) == total(lines)
    assert all(abs(line.total - line.quantity * line.unit_price) <= Decimal("0.005") for line in lines)


@given(images=st.integers(0, 10**9), more=st.integers(1, 10**6))
def test_more_images_never_cost_less(images: int, more: int) -> None:
    table = load_prices()
    few, many = (total(bill(Usage(quantities=requests_of(count)), table)) for count in (images, images + more))
    assert few <= many


def test_an_image_is_charged_the_writes_of_its_progress_and_the_looks_for_a_cancel() -> None:
    assert per_image(0.5) == PerImage()
    assert (per_image(1.5).s3_puts, per_image(1.5).s3_gets) == (5, 3)
    assert (per_image(9).s3_puts, per_image(9).s3_gets) == (7, 17)


def test_fixed_costs_name_what_runs_all_month() -> None:
    services = by_service(bill(fixed_usage(Fixed(nat_gateways=1, snapshot_gib=100, alarms=5)), load_prices()))
    assert services["Amazon EC2"] == Decimal("138.24")
    assert services["Amazon EKS"] == Decimal("72.00")
    assert services["Amazon VPC"] == Decimal("36.00")
    assert services["Amazon CloudWatch"] == Decimal("0.50")


def test_a_missing_price_is_named_with_the_way_out() -> None:
    table = load_prices(REFERENCE_TABLE)
    with pytest.raises(PricesError, match=r"add prices\.nat_gateway_hour to it"):
        bill(Usage(quantities={Item.NAT_GATEWAY_HOUR: 1}), table)
    with pytest.raises(PricesError, match=r"add instances\.p5\.48xlarge\.spot to it; it has g5\.2xlarge spot"):
        bill(Usage({("p5.48xlarge", Capacity.SPOT): 1}), table)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("prices: {}", "region: Field required"),
        ("{", "is not YAML"),
        ("- a", "the table: "),
        ("{region: x, as_of: 2026-01-01, source: y, instances: {}, prices: {eks: {usd: 1}}}", r"prices\.eks"),
        ("{region: x, as_of: 2026-01-01, source: y, instances: {g5: {spot: -1}}, prices: {}}", r"instances\.g5\.spot"),
    ],
)
def test_a_faulty_table_is_refused_by_file_and_key(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(PricesError, match=rf"mine\.yaml: .*{sentence}|mine\.yaml: {sentence}"):
        load_prices(path)


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PricesError, match=r"none\.yaml: cannot be read: No such file"):
        load_prices(tmp_path / "none.yaml")

"""What tasks cost: seconds times a price that is known, or nothing; and with idle time it is the bill."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from contract.callback import encode_callback
from contract.costs import Cost, GpuPrice, charged, split_bill
from contract.gpu_prices import default_price, price_in
from contract.identifiers import TaskRef
from contract.prices import Capacity, PriceTable, load_prices
from contract.record import (
    Record,
    Status,
    Submission,
    excuse,
    finish,
    note_cost,
    report_progress,
    start,
    submit,
)
from contract.tags import Tags
from contract.task import Metadata, TaskMessage, TaskType, encode_task_message

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = TaskRef("a", "alice")
PRICE = GpuPrice(Decimal("0.53"), "a table")
UNKNOWN = GpuPrice(None, "nobody knows")


def begun(**more: object) -> Record:
    made = Submission(submission="s", runtime="r", tasktype=TaskType.PIPELINE, prefix="p", submitted_at=NOW, **more)
    return start(submit(None, TASK, made), "s", holder="h", now=NOW)


def test_a_tasks_cost_is_its_gpu_seconds_at_the_price_of_an_hour() -> None:
    assert charged(None, 9.0, PRICE) == Cost(gpu_seconds=9.0, usd=0.001325, price=0.53, source="a table")


def test_attempts_on_unlike_gpus_are_charged_at_the_price_of_each() -> None:
    first = charged(None, 3600, GpuPrice(Decimal("0.50"), "spot"))
    assert charged(first, 1800, GpuPrice(Decimal("1.00"), "on demand")) == Cost(
        gpu_seconds=5400, usd=1.0, price=1.0, source="on demand"
    )


@pytest.mark.parametrize(("first", "second"), [(PRICE, UNKNOWN), (UNKNOWN, PRICE), (UNKNOWN, UNKNOWN)])
def test_a_price_that_is_not_known_makes_no_cost_in_money(first: GpuPrice, second: GpuPrice) -> None:
    cost = charged(charged(None, 2, first), 3, second)
    assert (cost.gpu_seconds, cost.usd) == (5, None)


def test_each_report_of_an_attempt_says_the_whole_so_that_repeating_it_changes_nothing() -> None:
    lost = report_progress(begun(), "s", holder="h", attempt=1, progress=0.5, cost=charged(None, 4, PRICE))
    again = report_progress(lost, "s", holder="h", attempt=1, progress=0.5, cost=charged(None, 4, PRICE))
    assert again == lost
    # Its agent dies here; the next one goes on from what the record tells.
    second = start(lost, "s", holder="i", now=NOW)
    before = second.current.cost
    retried = note_cost(second, "s", holder="i", attempt=2, cost=charged(before, 1, PRICE))
    handed_back = excuse(
        start(retried, "s", holder="j", now=NOW),
        "s",
        holder="j",
        attempt=3,
        cost=charged(retried.current.cost, 2, PRICE),
    )
    last = start(handed_back, "s", holder="k", now=NOW)
    done = finish(
        last,
        "s",
        holder="k",
        attempt=4,
        status=Status.SUCCEEDED,
        now=NOW,
        cost=charged(last.current.cost, 9, PRICE),
    )
    assert done.current.cost is not None
    assert done.current.cost.gpu_seconds == 16
    assert done.current.cost.usd == pytest.approx(16 * 0.53 / 3600)


def test_without_a_price_and_tags_neither_record_nor_message_nor_callback_holds_a_byte_of_them() -> None:
    done = finish(begun(), "s", holder="h", attempt=1, status=Status.SUCCEEDED, now=NOW)
    metadata = Metadata(id="a", runtime="r", tasktype=TaskType.PIPELINE, prefix="p")
    message = encode_task_message(TaskMessage(metadata=metadata, content={}))
    for text in (done.model_dump_json(), message):
        assert "cost" not in text
        assert "tags" not in text
    assert "cost_usd" not in encode_callback(TASK, done.current, bucket="b").attributes


def test_record_and_message_bring_cost_and_tags_along() -> None:
    done = finish(
        begun(tags={"team": "x"}),
        "s",
        holder="h",
        attempt=1,
        status=Status.SUCCEEDED,
        now=NOW,
        cost=charged(None, 9, PRICE),
    )
    read = Record.model_validate_json(done.model_dump_json())
    assert read == done
    assert encode_callback(TASK, read.current, bucket="b").attributes["cost_usd"] == "0.001325000"
    unpriced = done.current.model_copy(update={"cost": charged(None, 9, UNKNOWN)})
    assert "cost_usd" not in encode_callback(TASK, unpriced, bucket="b").attributes


def test_the_price_of_a_gpu_is_that_of_its_instance_in_the_tables_own_region() -> None:
    table = load_prices()
    spot = default_price(region="us-west-2", instance="g6.2xlarge", capacity=Capacity.SPOT)
    assert spot == price_in(table, region="us-west-2", instance="g6.2xlarge", capacity=Capacity.SPOT)
    assert spot.usd == table.instance_hour("g6.2xlarge", Capacity.SPOT)
    halves = price_in(table, region="us-west-2", instance="g6.2xlarge", capacity=Capacity.SPOT, gpus=2)
    assert halves.usd == Decimal("0.265")


@pytest.mark.parametrize(
    ("region", "instance"), [("eu-west-1", "g6.2xlarge"), ("us-west-2", "g99.large"), ("us-west-2", "m5.large")]
)
def test_a_price_that_the_table_lacks_is_not_made_up(region: str, instance: str) -> None:
    found = default_price(region=region, instance=instance, capacity=Capacity.SPOT)
    assert found.usd is None
    assert instance in found.source


@given(
    st.lists(st.integers(1, 10_000_000), max_size=50),
    st.integers(0, 10**9),
    st.decimals("0.01", "100", places=4, allow_nan=False),
)
def test_what_tasks_cost_and_idle_time_add_up_to_the_bill(runs: list[int], idle: int, usd: Decimal) -> None:
    price = GpuPrice(usd, "")
    paid = (sum(runs) + idle) / 1000
    split = split_bill([charged(None, run / 1000, price) for run in runs], paid_seconds=paid, price=price)
    assert split.total_usd is not None
    assert float(split.idle_seconds) == pytest.approx(idle / 1000)
    # Each task is rounded to a billionth of a dollar.
    assert abs(split.total_usd - Decimal(repr(paid)) * usd / 3600) <= Decimal("1e-9") * (len(runs) + 1)


def test_a_bill_with_a_price_that_is_not_known_has_no_sum() -> None:
    table = PriceTable(region="x", as_of=date(2026, 1, 1), source="s", instances={}, prices={})
    nowhere = price_in(table, region="x", instance="g", capacity=Capacity.SPOT)
    assert split_bill([charged(None, 1, nowhere)], paid_seconds=2, price=PRICE).total_usd is None
    assert split_bill([charged(None, 1, PRICE)], paid_seconds=2, price=nowhere).total_usd is None


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"a b": "x"}, "begins with a letter or digit"),
        ({"-a": "x"}, "begins with a letter or digit"),
        ({"a" * 33: "x"}, "1 to 32"),
        ({"a": ""}, "1 to 64"),
        ({"a": "x" * 65}, "1 to 64"),
        ({"a": "x\ny"}, "no control characters"),
        ({f"t{number}": "x" for number in range(9)}, "at most 8"),
        ({"a": 1}, "valid string"),
    ],
)
def test_a_tag_that_is_none_is_refused_in_words(tags: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(Tags).validate_python(tags)

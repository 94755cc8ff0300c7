"""The planner's parts: arrivals, percentiles, sweeps and the Pareto front, and the bill."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.chart_values import chart_defaults
from contract.costs import Cost, charged, split_bill
from contract.gpu_prices import default_price
from contract.prices import Capacity, Fixed, by_service, load_prices, total
from contract.scaling.settings import Scaling
from loadtest.planner.arrivals import Recorded, daily, from_csv
from loadtest.planner.asking import Chance, Oldest
from loadtest.planner.costs import monthly_bill
from loadtest.planner.model import Nodes, Run, Work
from loadtest.planner.simulation import Outcome, simulate
from loadtest.planner.sweep import ChoiceError, changed, pareto_front, parse_change, parse_sweep
from loadtest.planner.waits import RESOLUTION, SHORTEST, Percentiles
from loadtest.shapes import ReplayError

TIMES = st.lists(st.floats(0, 1e6), min_size=1, max_size=200)


def test_nodes_and_agents_are_the_charts_unless_something_else_is_said() -> None:
    chart = chart_defaults()
    disruption, agent = chart["karpenter"]["provisioner"]["disruption"], chart["runtime"]["queueAgent"]
    assert f"{Nodes().consolidate_after / 60:g}m" == disruption["consolidateAfter"]
    assert (Work().grace_seconds, Work().prefetch, Work().slots) == (
        agent["gracePeriodSeconds"],
        agent["prefetch"],
        agent["slots"],
    )
    volume = chart["karpenter"]["nodeTemplate"]["dataVolume"]
    assert (Nodes().volume_iops + 3000, Nodes().volume_throughput + 125) == (volume["iops"], volume["throughput"])


@given(times=TIMES, percent=st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_that_of_the_sorted_times_within_the_resolution(times: list[float], percent: int) -> None:
    counted = Percentiles()
    for seconds in times:
        counted.add(seconds)
    exact = sorted(times)[math.ceil(len(times) * percent / 100) - 1]
    assert counted.at(percent) == pytest.approx(exact, rel=RESOLUTION, abs=SHORTEST)
    assert (counted.count, counted.highest) == (len(times), max(times))
    assert counted.mean == pytest.approx(sum(times) / len(times))


def test_a_day_has_its_images_and_its_busiest_hour_has_its_share() -> None:
    load = daily(20_000, 2, noon_to_night=10)
    times = [moment for piece in load.pieces(seed=3) for moment in piece]
    assert times == sorted(times)
    assert len(times) == pytest.approx(40_000, rel=0.03)
    noon, night = (sum(hour * 3600 <= moment % 86_400 < (hour + 1) * 3600 for moment in times) for hour in (13.5, 1.5))
    assert noon / night == pytest.approx(10, rel=0.3)
    assert load.duration == 2 * 86_400


def test_a_load_is_the_same_for_the_same_seed_alone() -> None:
    first, again, other = (list(daily(1000, 1, noon_to_night=1).pieces(seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_a_csv_gives_its_own_times_and_those_of_one_runtime_where_it_names_several(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("time,runtime\n10,a\n12.5,b\n40,\n")
    assert from_csv(path).times == (0, 2.5, 30)
    assert from_csv(path, "b").times == (2.5, 30)
    assert from_csv(path, "b").duration == 27.5
    path.write_text("time,runtime\n10,a\n")
    with pytest.raises(ReplayError, match="no arrival of the runtime b, but of a; choose by --runtime"):
        from_csv(path, "b")


@given(points=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_the_pareto_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    def beaten(point: tuple[int, int]) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)

    assert pareto_front(points) == [index for index, point in enumerate(points) if not beaten(point)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("queueLength=1:4", [1, 2, 3, 4]),
        ("queueLength=5:20:5", [5, 10, 15, 20]),
        ("queueLength=1,5,10", [1, 5, 10]),
        ("queueLength=7", [7]),
    ],
)
def test_a_sweep_is_a_range_or_a_list(text: str, values: list[int]) -> None:
    assert parse_sweep(text) == ("queueLength", values)


@pytest.mark.parametrize(
    "text", ["queueLength", "queueLength=", "queueLength=a", "queueLength=5:1", "x=1:999", "x=1:9:0"]
)
def test_anything_else_is_no_sweep(text: str) -> None:
    with pytest.raises(ChoiceError, match=text.partition("=")[0]):
        parse_sweep(text)


def test_settings_change_by_their_documented_names() -> None:
    change = parse_change("extraHPAConfig={scaleDown: {stabilizationWindowSeconds: 60}}")
    scaling = changed(Scaling(queue_length=4), [parse_change("maxReplicaCount=9"), change])
    assert (scaling.queue_length, scaling.max_replica_count) == (4, 9)
    assert scaling.behaviour.scale_down.stabilization_window_seconds == 60


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("queueLength=0", "queueLength: Input should be greater than 0"),
        ("maxReplicas=3", "there is no setting 'maxReplicas'; there are .*maxReplicaCount"),
        ("minReplicaCount=30", r"minReplicaCount \(30\) must not exceed"),
        ("queueLength", "is not name=value"),
        ("queueLength={", "is not YAML"),
    ],
)
def test_a_change_that_cannot_be_is_refused_in_one_line(change: str, sentence: str) -> None:
    with pytest.raises(ChoiceError, match=sentence) as refusal:
        changed(Scaling(), [parse_change(change)])
    assert "\n" not in str(refusal.value)


@given(steps=st.lists(st.tuples(st.sampled_from(["add", "discard", "take"]), st.integers(0, 5)), max_size=60))
def test_a_message_goes_to_one_that_asks_and_in_turn_to_the_one_that_has_asked_longest(
    steps: list[tuple[str, int]],
) -> None:
    oldest, chance = Oldest[int](), Chance[int](random.Random(1))
    line, several = list[int](), set[int]()
    for step, item in steps:
        if step == "add":
            oldest.add(item)
            chance.add(item)
            line += [] if item in line else [item]
            several.add(item)
        elif step == "discard":
            oldest.discard(item)
            chance.discard(item)
            line = [other for other in line if other != item]
            several.discard(item)
        elif line and several:
            assert oldest.take() == line.pop(0)
            several.remove(chance.take())
        assert (len(oldest), len(chance)) == (len(line), len(several))


def outcome_of(**facts: Any) -> Outcome:
    outcome = Outcome(duration=86_400.0)
    for name, value in facts.items():
        setattr(outcome, name, value)
    return outcome


def test_a_bill_is_a_month_of_such_days() -> None:
    outcome = outcome_of(tasks=1000, node_seconds=7200.0, busy_seconds=1500.0)
    bill = monthly_bill(outcome, Scaling(), Run(), load_prices(), Fixed())
    assert (bill.images, bill.gpu_hours) == (30_000, 60.0)
    assert by_service(bill.variable)["Amazon EC2"] == Decimal("31.80")  # 60 h at $0.53
    assert by_service(bill.variable_at_full_use)["Amazon EC2"] == Decimal("6.63")  # 12.5 h
    assert bill.total == total(bill.variable) + total(bill.fixed)
    assert bill.per_thousand == (total(bill.variable) / 30).quantize(Decimal("0.0001"))


def test_what_nobody_uses_still_costs_the_fixed_lines_and_the_scalers_looks() -> None:
    bill = monthly_bill(outcome_of(), Scaling(), Run(), load_prices(), Fixed())
    assert (bill.images, bill.per_thousand) == (0, Decimal(0))
    assert by_service(bill.variable)["Amazon SQS"] == Decimal("1.11")  # 2.6 M polls and 0.17 M looks of the HPA
    assert total(bill.fixed) > 300


def test_gpus_that_are_never_idle_cost_as_in_the_references_table() -> None:
    """A GPU that is always there and always at work: what is paid for is what the images take."""
    day = Recorded(tuple(index * 1.5 for index in range(7200)))
    scaling = Scaling(min_replica_count=1, max_replica_count=1)
    outcome = simulate(day, scaling, Run())
    bill = monthly_bill(outcome, scaling, Run(), load_prices(), Fixed())
    assert outcome.utilisation > 0.97
    real, ideal = (by_service(lines)["Amazon EC2"] for lines in (bill.variable, bill.variable_at_full_use))
    assert ideal < real < ideal * Decimal("1.04")


def test_what_the_tasks_of_a_month_have_cost_and_idle_time_are_the_planners_bill() -> None:
    """Thirty days with GPUs that come and go, and Spot nodes that are taken: no run is left out, none counts twice."""
    costs: list[Cost] = []
    nodes = Nodes(instance="g6.2xlarge", capacity=Capacity.SPOT, interruptions_per_hour=0.5)
    price = default_price(region=load_prices().region, instance=nodes.instance, capacity=nodes.capacity)
    # A scaler that looks seldom, for the sake of the test's time.
    scaling = Scaling(min_replica_count=0, max_replica_count=5, queue_length=2, polling_interval=600)
    run = Run(work=Work(seconds=60, spread=0.5, grace_seconds=10), nodes=nodes, sync_period=600)

    outcome = simulate(
        daily(400, 30, noon_to_night=5), scaling, run, book=lambda spent: costs.append(charged(None, spent, price))
    )

    bill = monthly_bill(outcome, scaling, run, load_prices(), Fixed())
    split = split_bill(costs, paid_seconds=outcome.node_seconds, price=price)
    assert outcome.repeated_tasks > 10
    assert len(costs) == outcome.tasks + outcome.repeated_tasks
    assert split.total_usd is not None
    assert split.tasks_usd is not None
    assert split.idle_usd is not None
    # The bill is rounded to the cent, and its hours to a hundredth.
    cent = Decimal("0.02")
    assert abs(split.total_usd - by_service(bill.variable)["Amazon EC2"]) <= cent
    assert abs(split.tasks_usd - bill.gpu_tasks) <= cent
    assert abs(split.idle_usd - bill.gpu_idle) <= cent
    assert bill.gpu_tasks + bill.gpu_idle == by_service(bill.variable)["Amazon EC2"]

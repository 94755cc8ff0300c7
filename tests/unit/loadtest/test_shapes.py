"""Shapes: levels that stay in their bounds, arrivals that follow them, and that workers share without loss."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.arrivals import arrivals, flooded, length, share_of
from loadtest.scenario import Flood
from loadtest.shapes import Day, Ramp, Replay, ReplayError, Shape, Soak, Spike, Steady, Step, parse_arrivals

levels = st.floats(0, 5)
durations = st.floats(1, 60)
shapes = st.one_of(
    st.builds(Steady, kind=st.just("steady"), rate=levels, duration=durations),
    st.builds(Ramp, kind=st.just("ramp"), start=levels, end=levels, duration=durations),
    st.builds(
        Spike,
        kind=st.just("spike"),
        base=levels,
        high=levels,
        begin=st.floats(0, 100),
        width=durations,
        duration=durations,
    ),
    st.builds(Step, kind=st.just("step"), start=levels, rise=levels, every=durations, duration=durations),
    st.builds(Day, kind=st.just("day"), night=levels, noon=levels, busiest=st.floats(0, 23.9), duration=durations),
)


@given(shapes, st.floats(0, 1))
def test_no_level_is_negative_or_above_the_peak(shape: Spike | Step | Day, share: float) -> None:
    level = shape.level(share * shape.duration)
    assert -1e-9 <= level <= shape.peak + 1e-9


@given(shapes, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_arrivals_come_in_order_within_the_load_and_are_the_same_for_the_same_seed(shape: Shape, seed: int) -> None:
    found = [item.at for item in arrivals(shape, seed)]
    assert found == sorted(found)
    assert all(0 <= at < length(shape) for at in found)
    assert found == [item.at for item in arrivals(shape, seed)]


@given(st.floats(1, 60), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_as_many_arrive_as_the_shape_says(rate: float, seed: int) -> None:
    shape = Spike(kind="spike", base=0, high=rate, begin=50, width=100, duration=300)
    found = [item.at for item in arrivals(shape, seed)]
    expected = rate * 100
    assert abs(len(found) - expected) < 6 * expected**0.5, "six standard deviations of a Poisson process"
    assert all(50 <= at < 150 for at in found), "nobody arrives where the level is 0"


@given(st.integers(1, 7), st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_workers_share_all_arrivals_and_none_is_sent_twice(workers: int, seed: int) -> None:
    every = list(arrivals(Steady(kind="steady", rate=5, duration=20), seed))
    shares = [list(share_of(worker, workers, every)) for worker in range(workers)]
    assert sorted(itertools.chain(*shares)) == list(enumerate(every)) or not every
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_spike_begins_and_ends_where_it_says() -> None:
    shape = Spike(kind="spike", base=1, high=9, begin=10, width=5, duration=30)
    assert [shape.level(at) for at in (9.99, 10, 14.99, 15)] == [1, 9, 9, 1]


def test_a_day_is_highest_at_its_busiest_hour_and_lowest_twelve_hours_later() -> None:
    shape = Day(kind="day", night=2, noon=10, busiest=18, duration=240)
    assert shape.level(180) == pytest.approx(10)
    assert shape.level(60) == pytest.approx(2)


def test_a_soak_takes_hours_if_nothing_else_is_said() -> None:
    assert Soak(kind="soak", rate=1).duration == 4 * 3600


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0.1, 10))
def test_a_replay_keeps_the_distances_between_arrivals(times: list[float], speed: float) -> None:
    found = parse_arrivals("time\n" + "\n".join(str(at) for at in times), "test", speed)
    assert found[0].at == 0
    assert [item.at for item in found] == pytest.approx([(at - min(times)) / speed for at in sorted(times)], abs=1e-6)


def test_a_replay_takes_times_of_day_runtimes_and_task_types(tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    path.write_text("time,runtime,tasktype\n2026-03-01T12:00:30Z,b,pipeline\n2026-03-01T12:00:00Z,a,\n")
    found = list(arrivals(Replay(kind="replay", file=path, speed=2), seed=1))
    assert [(item.at, item.runtime, item.tasktype) for item in found] == [(0, "a", ""), (15, "b", "pipeline")]
    assert length(Replay(kind="replay", file=path)) == 30


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("when\n1\n", "column 'time'"),
        ("time\n1\nsoon\n", "line 3: 'soon'"),
        ("time\nnan\n", "'nan'"),
        ("time\n", "no arrival"),
        ("", "column 'time'"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ReplayError, match=says) as caught:
        parse_arrivals(text, "day.csv")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("day.csv")


def test_a_replay_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match=r"nowhere\.csv"):
        length(Replay(kind="replay", file=tmp_path / "nowhere.csv"))


def test_a_flood_is_the_first_tenants_and_the_others_share_the_load() -> None:
    shape = Steady(kind="steady", rate=5, duration=60)
    flood = Flood(tasks=100, begin=10, within=5)
    found = list(flooded(arrivals(shape, 1), flood, ["loud", "a", "b"], 1))
    assert [item.at for item in found] == sorted(item.at for item in found)
    loud = [item.at for item in found if item.tenant == "loud"]
    assert (len(loud), min(loud)) == (100, 10)
    assert max(loud) < 15
    others = [item for item in found if item.tenant != "loud"]
    assert [item.at for item in others] == [item.at for item in arrivals(shape, 1)]
    assert {item.tenant for item in others} == {"a", "b"}

"""Figures follow from times and samples alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.statistics import (
    Run,
    Sample,
    cpu_between,
    gaps,
    idle_fraction,
    medians,
    peak_rss,
    percentile,
    rate_within,
    rss_within,
)

TIMES = st.floats(0, 1e6)
GROWING = st.lists(st.tuples(st.floats(0.001, 10), st.floats(0, 5)), min_size=1, max_size=30)


@given(st.lists(TIMES, min_size=1), st.floats(0.1, 100))
def test_a_percentile_is_one_of_the_values_and_that_many_do_not_exceed_it(values: list[float], percent: float) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-9


def test_the_median_of_four_is_the_second_and_of_nothing_there_is_none() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2
    assert percentile([], 50) is None


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_a_percentile_beyond_all_values_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="no percentage"):
        percentile([1.0], percent)


def test_a_gpu_that_works_nine_of_ten_seconds_is_idle_for_a_tenth() -> None:
    runs = [Run(100, 104), Run(105, 110)]

    assert idle_fraction(runs, 9) == pytest.approx(0.1)
    assert gaps(runs) == [1]


@given(st.lists(st.tuples(TIMES, st.floats(0, 100)), max_size=20), st.floats(0, 1e6))
def test_an_idle_fraction_is_a_fraction(spans: list[tuple[float, float]], busy: float) -> None:
    runs = [Run(start, start + length) for start, length in spans]

    idle = idle_fraction(runs, busy)

    assert (idle is None) == (not runs)
    assert idle is None or 0 <= idle <= 1


@given(GROWING, st.floats(-10, 400), st.floats(0, 400))
def test_processor_time_between_two_moments_never_exceeds_the_whole(
    steps: list[tuple[float, float]], begin: float, length: float
) -> None:
    samples, at, cpu = [], 0.0, 0.0
    for seconds, used in steps:
        at, cpu = at + seconds, cpu + used
        samples.append(Sample(at, cpu, 0))

    assert 0 <= cpu_between(samples, begin, begin + length) <= samples[-1].cpu - samples[0].cpu + 1e-6


def test_processor_time_between_two_samples_counts_as_even() -> None:
    samples = [Sample(10, 1.0, 5), Sample(20, 3.0, 9), Sample(30, 3.0, 7)]

    assert cpu_between(samples, 15, 20) == pytest.approx(1.0)
    assert cpu_between(samples, 0, 100) == pytest.approx(2.0)
    assert peak_rss(samples) == 9
    assert rss_within(samples, 15, 30) == 8
    assert rss_within(samples, 40, 50) is None


def test_a_rate_counts_what_falls_into_the_span() -> None:
    assert rate_within([1, 2, 3, 4], 1, 3) == 1.0
    assert rate_within([1], 3, 3) is None


def test_medians_leave_out_what_is_missing() -> None:
    assert medians([{"rate": 1.0, "idle": None}, {"rate": 3.0, "idle": None}, {"rate": 8.0}]) == {
        "rate": 3.0,
        "idle": None,
    }

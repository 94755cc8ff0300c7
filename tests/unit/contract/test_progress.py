"""Progress is written seldom enough to cost little, and often enough to be worth looking at."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.progress import LONGEST_INTERVAL, progress_interval, progress_writes


def written_at(seconds: float) -> list[float]:
    """Returns the ages at which a run of so many seconds writes its progress, its start first."""
    ages = [0.0]
    while ages[-1] + progress_interval(ages[-1]) < seconds:
        ages.append(ages[-1] + progress_interval(ages[-1]))
    return ages


@pytest.mark.parametrize(("seconds", "writes"), [(0, 0), (1.5, 0), (2.5, 1), (9, 2), (30, 5), (600, 62)])
def test_a_run_of_some_seconds_writes_so_often(seconds: float, writes: int) -> None:
    assert progress_writes(seconds) == writes


@given(st.floats(0, 20_000))
def test_a_run_never_writes_more_often_than_every_other_second_and_at_last_every_ten(seconds: float) -> None:
    assert progress_writes(seconds) == len(written_at(seconds)) - 1
    assert progress_writes(seconds) <= min(seconds / 2, 4 + seconds / LONGEST_INTERVAL)


@given(st.floats(0.001, 20_000))
def test_progress_is_never_older_than_ten_seconds_nor_than_two_and_half_of_the_runs_age(seconds: float) -> None:
    ages = [*written_at(seconds), seconds]
    assert all(later - earlier <= min(10.0, 2 + earlier / 2) + 1e-6 for earlier, later in pairwise(ages))


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_the_longer_it_has_run_the_longer_the_wait(one: float, other: float) -> None:
    assert progress_interval(min(one, other)) <= progress_interval(max(one, other)) <= LONGEST_INTERVAL

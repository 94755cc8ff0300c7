"""The GPU's time of the last hour, put together of what single agents tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.agents import AgentNote, Point, by_minute

NOW = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
"""Half a minute into a minute."""


def note(*points: tuple[float, float, float]) -> AgentNote:
    """The note of an agent; its points say how many seconds ago they were."""
    return AgentNote(
        agent="01",
        host="pod",
        state="busy",
        since=NOW,
        started_at=NOW,
        written_at=NOW,
        lifetime_seconds=150,
        slots=1,
        points=tuple(Point(NOW.timestamp() - ago, busy, idle) for ago, busy, idle in points),
    )


def test_time_between_two_points_is_spread_evenly_over_the_minutes() -> None:
    told = by_minute([note((90, 0, 0), (0, 60, 30))], now=NOW)

    assert [minute.at.minute for minute in told] == [59, 0]
    assert [minute.busy_seconds for minute in told] == pytest.approx([40, 20])
    assert [minute.idle_seconds for minute in told] == pytest.approx([20, 10])


def test_the_gpus_of_all_agents_count_together() -> None:
    told = by_minute([note((30, 0, 0), (0, 30, 0)), note((30, 0, 0), (0, 0, 30))], now=NOW)

    assert [(minute.busy_seconds, minute.idle_seconds) for minute in told] == [(30, 30)]


def test_minutes_without_a_gpu_and_those_before_the_hour_are_left_out() -> None:
    gone = note((7200, 0, 0), (3510, 3690, 0))
    waiting = note((600, 0, 0), (0, 0, 0))

    told = by_minute([gone, waiting], now=NOW)

    [minute] = told
    assert minute.at == NOW.replace(second=0) - timedelta(minutes=59)
    assert (round(minute.busy_seconds), minute.idle_seconds) == (60, 0)


def points() -> st.SearchStrategy[list[tuple[float, float, float]]]:
    steps = st.tuples(st.floats(0.1, 400), st.floats(0, 1), st.floats(0, 1))
    return st.lists(steps, min_size=2, max_size=8).map(_walked)


def _walked(steps: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Points whose busy and idle time together are no more than the time between them."""
    ago, busy, idle = 3000.0, 0.0, 0.0
    walked = []
    for longest, share, rest in steps:
        walked.append((ago, busy, idle))
        seconds = min(longest, ago)
        busy, idle = busy + seconds * share, idle + seconds * (1 - share) * rest
        ago -= seconds
    return walked


@given(st.lists(points(), max_size=3))
def test_no_second_is_lost_or_made(series: list[list[tuple[float, float, float]]]) -> None:
    told = by_minute([note(*one) for one in series], now=NOW)

    assert sum(minute.busy_seconds for minute in told) == pytest.approx(sum(one[-1][1] for one in series), abs=0.1)
    assert sum(minute.idle_seconds for minute in told) == pytest.approx(sum(one[-1][2] for one in series), abs=0.1)
    assert all(minute.busy_seconds + minute.idle_seconds <= 60 * len(series) + 0.01 for minute in told)

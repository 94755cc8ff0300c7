"""Each state's time is counted, and told in JSON and to Prometheus."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from agent.operations.lifecycle import Lifecycle, LifecycleCollector, State


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds - 100)


def test_the_present_state_says_since_when_and_each_other_how_long_it_was() -> None:
    clock = Clock()
    lifecycle = Lifecycle(clock, clock.wall)
    for seconds, state in ((2, State.WAITING_FOR_RUNTIME), (3, State.READY), (5, State.BUSY), (7, State.READY)):
        clock.seconds += seconds
        lifecycle.enter(state)
    clock.seconds += 11
    lifecycle.enter(State.READY)  # it is that already

    told = lifecycle.describe()

    assert (told["state"], told["since"], told["seconds"]) == ("ready", "2026-01-01T00:00:17.000+00:00", 11)
    assert told["states"] == {
        "starting": {"entered": "2026-01-01T00:00:00.000+00:00", "times": 1, "seconds": 2},
        "waiting-for-runtime": {"entered": "2026-01-01T00:00:02.000+00:00", "times": 1, "seconds": 3},
        "ready": {"entered": "2026-01-01T00:00:17.000+00:00", "times": 2, "seconds": 16},
        "busy": {"entered": "2026-01-01T00:00:10.000+00:00", "times": 1, "seconds": 7},
    }


@given(st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(State))))
def test_no_second_is_lost_or_counted_twice(steps: list[tuple[float, State]]) -> None:
    clock = Clock()
    lifecycle = Lifecycle(clock, clock.wall)
    for seconds, state in steps:
        clock.seconds += seconds
        lifecycle.enter(state)
    assert abs(sum(lifecycle.seconds().values()) - (clock.seconds - 100)) < 1e-3
    assert all(seconds >= 0 for seconds in lifecycle.seconds().values())


def test_prometheus_sees_each_state_from_the_start() -> None:
    clock = Clock()
    registry = CollectorRegistry()
    registry.register(LifecycleCollector(Lifecycle(clock, clock.wall)))
    clock.seconds += 4
    lines = generate_latest(registry).decode().splitlines()
    assert 'darkroom_agent_state_seconds_total{state="starting"} 4.0' in lines
    assert 'darkroom_agent_state_seconds_total{state="warming"} 0.0' in lines
    assert len([line for line in lines if line.startswith("darkroom_agent_state_seconds_total{")]) == len(State)

"""The token bucket grants its burst at once and its rate after that, to each owner alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from api.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_burst_is_granted_at_once_and_then_the_rate() -> None:
    clock = Clock()
    throttle = Throttle(30, 50, clock)

    assert [throttle.admit("a") for _ in range(50)] == [0.0] * 50
    wait = throttle.admit("a")
    assert 0 < wait <= 1 / 30
    clock.now += wait
    assert throttle.admit("a") == 0
    assert throttle.admit("a") > 0


def test_owners_do_not_share() -> None:
    throttle = Throttle(1, 1, Clock())

    assert throttle.admit("a") == 0
    assert throttle.admit("a") > 0
    assert throttle.admit("b") == 0


@given(
    st.floats(0.1, 1000),
    st.integers(1, 100),
    st.lists(st.floats(0, 10), max_size=100),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: int, pauses: list[float]) -> None:
    clock = Clock()
    throttle = Throttle(rate, burst, clock)
    granted = 0
    for pause in pauses:
        clock.now += pause
        wait = throttle.admit("a")
        granted += wait == 0
        assert wait == 0 or 0 < wait <= 1 / rate + 1e-9
        assert granted <= burst + (clock.now - 1000.0) * rate + 1e-3


@given(st.floats(0.1, 1000), st.integers(1, 100), st.integers(0, 200))
def test_who_waits_as_long_as_told_is_admitted(rate: float, burst: int, requests: int) -> None:
    clock = Clock()
    throttle = Throttle(rate, burst, clock)
    for _ in range(requests):
        wait = throttle.admit("a")
        if wait:
            clock.now += wait
            assert throttle.admit("a") == 0

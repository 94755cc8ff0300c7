"""What a slow or dead receiver takes from others: nothing."""

from __future__ import annotations

from contextlib import ExitStack

from hypothesis import given
from hypothesis import strategies as st

from webhooks.receivers import FAILURES, LONGEST_PAUSE, Receivers

ALICE, OTHER, BOB, SHARED = ("alice", "https://a:443"), ("alice", "https://b:443"), ("bob", "https://a:443"), ("", "x")


def test_one_receiver_has_its_room_a_tenant_half_of_all_and_who_has_no_tenant_all() -> None:
    receivers = Receivers(most=8, most_each=3)
    with ExitStack() as stack:
        for _ in range(3):
            assert receivers.has_room(ALICE)
            stack.enter_context(receivers.attempt(ALICE))
        assert not receivers.has_room(ALICE)
        assert receivers.has_room(OTHER)
        stack.enter_context(receivers.attempt(OTHER))
        assert not receivers.has_room(OTHER), "half of all are alice's"
        assert receivers.has_room(BOB)
        for number in range(4):
            stack.enter_context(receivers.attempt(("", f"x{number}")))
        assert not receivers.has_room(BOB)
        assert not receivers.has_room(SHARED)
    assert receivers.has_room(ALICE)


def fail(receivers: Receivers, times: int, now: float) -> None:
    for _ in range(times):
        with receivers.attempt(ALICE) as breaker:
            breaker.note(succeeded=False, now=now)


def test_a_dead_receiver_is_left_alone_and_one_attempt_at_a_time_finds_out_whether_it_is_back() -> None:
    receivers = Receivers(most=8, most_each=8)
    fail(receivers, FAILURES - 1, 0)
    assert receivers.pause(ALICE, 0) == 0
    fail(receivers, 1, 0)
    pause = receivers.pause(ALICE, 0)
    assert pause > 0
    assert receivers.pause(BOB, 0) == 0, "what alice does to a host that many use is no reason"
    assert receivers.pause(ALICE, pause) == 0
    with receivers.attempt(ALICE) as breaker:
        assert receivers.pause(ALICE, pause) > 0, "another one is under way"
        breaker.note(succeeded=True, now=pause)
    assert receivers.pause(ALICE, pause) == 0
    assert receivers.left_alone(pause) == 0


@given(failures=st.integers(FAILURES, 200))
def test_the_pause_grows_and_has_an_end(failures: int) -> None:
    receivers = Receivers(most=8, most_each=8)
    fail(receivers, failures, 0)
    assert 0 < receivers.pause(ALICE, 0) <= LONGEST_PAUSE
    assert receivers.left_alone(0) == 1

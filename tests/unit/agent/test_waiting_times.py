"""How long a task has waited is told by one clock, whatever the others say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.task_queue import seconds_waited

MOMENTS = st.none() | st.floats(0, 4e9)


def test_the_first_receipt_is_told_exactly_and_a_later_one_by_whole_seconds() -> None:
    moments = {"sent_at": 100.25, "first_received_at": 101.5, "answered_at": 107.0}
    assert seconds_waited(**moments, receive_count=1) == 1.25
    assert seconds_waited(**moments, receive_count=2) == 6.75


@given(MOMENTS, MOMENTS, MOMENTS, st.integers(1, 3))
def test_it_is_never_negative_and_known_as_soon_as_two_moments_are(
    sent: float | None, first: float | None, answered: float | None, receive_count: int
) -> None:
    waited = seconds_waited(sent_at=sent, first_received_at=first, receive_count=receive_count, answered_at=answered)
    assert (waited is None) is (sent is None or (first is None and answered is None))
    assert waited is None or waited >= 0

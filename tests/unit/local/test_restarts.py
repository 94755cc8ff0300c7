"""How long a dead process stays dead."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local.harness.restarts import RestartPolicy

POLICY = RestartPolicy(first=0.5, factor=2, longest=15, settled_after=30)


def test_each_death_in_a_row_waits_longer_up_to_a_limit() -> None:
    assert [POLICY.delay(failures) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]


def test_a_process_that_has_lived_for_a_while_starts_afresh() -> None:
    assert POLICY.failures(before=5, lived=29.9) == 6
    assert POLICY.failures(before=5, lived=30) == 1


@given(failures=st.integers(1, 10**9))
def test_a_delay_is_within_its_limits_however_often_a_process_dies(failures: int) -> None:
    assert 0.5 <= POLICY.delay(failures) <= POLICY.delay(failures + 1) <= 15

"""The GPU never waits, and no agent holds what another one could run sooner."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.pace import LEAD, LOOKAHEAD, MOST_AHEAD, REMEMBERED, Pace, ahead, recent, room, until_due

SECONDS = st.floats(0, 1000)


@given(st.integers(0, 20), st.integers(0, 30), st.integers(0, 4))
def test_an_agent_receives_no_more_than_it_prefetches_and_at_least_one_for_an_idle_gpu(
    prefetch: int, waiting: int, free: int
) -> None:
    count = room(prefetch=prefetch, waiting=waiting, free=free)

    assert 0 <= count <= max(prefetch, free)
    assert waiting + count <= max(prefetch, free, waiting)
    if free and not waiting:
        assert count >= free


@given(st.integers(0, 100), st.floats(0, 10_000))
def test_so_many_tasks_are_made_ready_as_run_within_a_second_and_never_fewer_than_set(
    prefetch: int, run_seconds: float
) -> None:
    count = ahead(prefetch, run_seconds)

    assert count >= prefetch
    assert count <= max(prefetch, MOST_AHEAD)
    assert (count - 1) * run_seconds <= LOOKAHEAD or count == prefetch
    assert ahead(0, run_seconds) == 0
    assert ahead(prefetch, None) == prefetch


@given(st.one_of(st.none(), st.floats(0, 1000)), st.floats(0, 1000))
def test_one_long_run_counts_at_once_and_one_short_run_does_not(before: float | None, seconds: float) -> None:
    after = recent(before, seconds)

    assert after >= seconds
    assert before is None or after >= 0.7 * before
    assert after <= max(seconds, before or 0) + 1e-9


def test_during_a_long_run_the_next_task_is_left_to_others_until_a_moment_before_the_end() -> None:
    pace = Pace(prefetch=1, slots=1)
    pace.note_run(20.0)
    pace.note_preparation(0.25)

    def asked(elapsed: float, progress: float = 0.0, waiting: int = 0) -> tuple[int, float]:
        return pace.wanted(waiting=waiting, running=1, elapsed=elapsed, progress=progress)

    assert asked(0) == (0, 18.0)
    assert asked(17) == (0, 1.0)
    assert asked(18) == (1, 0.0)
    assert asked(18, waiting=1) == (0, 0.0)
    assert asked(30) == (1, 0.0)


def test_a_run_that_is_shorter_than_the_last_ones_is_told_by_its_progress() -> None:
    pace = Pace(prefetch=1, slots=1)
    pace.note_run(20.0)

    assert pace.wanted(waiting=0, running=1, elapsed=2.0, progress=0.0)[0] == 0
    assert pace.wanted(waiting=0, running=1, elapsed=2.0, progress=0.6)[0] == 1


def test_an_idle_agent_takes_one_long_task_and_leaves_the_second_slot_for_when_it_is_due() -> None:
    pace = Pace(prefetch=3, slots=2)
    assert pace.wanted(waiting=0, running=0, elapsed=0, progress=0) == (3, 0.0)

    pace.note_run(20.0)

    assert pace.wanted(waiting=0, running=0, elapsed=0, progress=0) == (1, 0.0)
    assert pace.wanted(waiting=1, running=0, elapsed=0, progress=0) == (0, 0.0)
    assert pace.wanted(waiting=0, running=1, elapsed=1, progress=0) == (0, 17.5)
    assert pace.wanted(waiting=0, running=1, elapsed=19, progress=0) == (1, 0.0)
    assert pace.wanted(waiting=0, running=2, elapsed=19, progress=0) == (0, 0.0)
    assert pace.wanted(waiting=1, running=1, elapsed=19, progress=0) == (0, 0.0)


def test_without_prefetch_and_with_one_slot_nothing_is_taken_during_a_run_however_late() -> None:
    pace = Pace(prefetch=0, slots=1)
    pace.note_run(20.0)

    assert pace.wanted(waiting=0, running=1, elapsed=30, progress=0.9) == (0, 0.0)
    assert pace.wanted(waiting=0, running=0, elapsed=0, progress=0) == (1, 0.0)


@given(st.lists(st.floats(0, LEAD), max_size=REMEMBERED), SECONDS, st.floats(0, 0.1))
def test_short_runs_have_their_next_task_made_ready_at_once(runs: list[float], elapsed: float, progress: float) -> None:
    assert until_due(elapsed=elapsed, progress=progress, runs=runs, preparing=0) == 0


@given(st.lists(SECONDS, min_size=1, max_size=REMEMBERED), SECONDS, st.floats(0, 1), SECONDS)
def test_the_next_task_is_due_before_any_run_like_the_last_ones_ends(
    runs: list[float], elapsed: float, progress: float, preparing: float
) -> None:
    wait = until_due(elapsed=elapsed, progress=progress, runs=runs, preparing=preparing)

    assert wait >= 0
    if progress < 0.1 and wait:
        assert elapsed + wait + LEAD + 2 * preparing <= min(runs) + 1e-6
    if progress > 0.5 and wait:
        assert wait <= elapsed


@given(st.lists(SECONDS, max_size=8), st.integers(0, 5), st.integers(1, 4), st.integers(0, 6), SECONDS, st.floats(0, 1))
def test_an_idle_gpu_always_gets_a_task_and_nothing_is_waited_for_without_a_run(
    runs: list[float], prefetch: int, slots: int, waiting: int, elapsed: float, progress: float
) -> None:
    pace = Pace(prefetch=prefetch, slots=slots)
    for seconds in runs:
        pace.note_run(seconds)

    count, again_in = pace.wanted(waiting=0, running=0, elapsed=0, progress=0)
    assert count >= 1
    assert again_in == 0
    for running in range(slots + 1):
        count, again_in = pace.wanted(waiting=waiting, running=running, elapsed=elapsed, progress=progress)
        assert 0 <= count <= max(prefetch, MOST_AHEAD, slots)
        assert not (count and again_in)

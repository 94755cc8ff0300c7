"""A trial's plan follows from its seed alone, and does what was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contract.identifiers import check_task_id
from tests.chaos.plan import FaultKind, make_plan

seeds = st.integers(min_value=0, max_value=2**32)


@given(seeds)
def test_the_same_seed_gives_the_same_plan(seed: int) -> None:
    assert make_plan(seed) == make_plan(seed)


def test_another_seed_gives_another_plan() -> None:
    assert make_plan(1).faults != make_plan(2).faults


@given(
    seeds,
    st.integers(min_value=1, max_value=600),
    st.integers(min_value=1, max_value=5),
    st.floats(min_value=5, max_value=400),
)
def test_every_fault_strikes_within_the_window_and_some_pod_that_is_there(
    seed: int, tasks: int, agents: int, window: float
) -> None:
    plan = make_plan(seed, tasks=tasks, agents=agents, window=window)
    assert len(plan.tasks) == tasks
    assert len({check_task_id(task.task_id) for task in plan.tasks}) == tasks
    assert {fault.kind for fault in plan.faults} == set(FaultKind)
    for fault in plan.faults:
        assert 0 <= fault.at <= window
        assert 0 <= fault.pod < agents
        assert 0 <= fault.seconds <= max(10.0, window / 3)
    assert all(0 <= task.at <= window for task in plan.tasks)
    assert str(seed) in plan.describe()


@given(seeds)
def test_a_full_trial_freezes_aws_for_ten_seconds_and_agents_past_their_visibility(seed: int) -> None:
    plan = make_plan(seed)
    assert {fault.seconds for fault in plan.faults if fault.kind is FaultKind.AWS_FROZEN} == {10.0}
    assert all(fault.seconds > plan.visibility for fault in plan.faults if fault.kind is FaultKind.AGENT_FROZEN)

"""A trial's plan follows from its seed alone, and does what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.identifiers import check_task_id
from contract.runtimes import KINDS
from contract.task import RuntimeType
from tests.chaos.plan import EXPIRY, EXPIRY_SWEEP, RETENTION, FaultKind, TaskKind, make_plan

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
    assert all(check_task_id(task.task_id) for task in plan.tasks)
    assert len({task.ref for task in plan.tasks}) == tasks
    assert {fault.kind for fault in plan.faults} == set(FaultKind)
    for fault in plan.faults:
        assert 0 <= fault.at <= window
        assert 0 <= fault.pod < agents or fault.kind is FaultKind.QUEUE_GONE
        assert 0 <= fault.seconds <= max(10.0, window / 3)
    assert all(0 <= task.at <= window for task in plan.tasks)
    assert str(seed) in plan.describe()


@given(seeds)
def test_a_full_trial_freezes_aws_for_ten_seconds_and_agents_past_their_visibility(seed: int) -> None:
    plan = make_plan(seed)
    assert {fault.seconds for fault in plan.faults if fault.kind is FaultKind.AWS_FROZEN} == {10.0}
    assert all(fault.seconds > plan.visibility for fault in plan.faults if fault.kind is FaultKind.AGENT_FROZEN)


@pytest.mark.parametrize("seed", range(20))
def test_a_full_trial_has_every_kind_of_task_and_three_types_of_runtime(seed: int) -> None:
    plan = make_plan(seed)
    assert {task.kind for task in plan.tasks} == set(TaskKind)
    assert len({runtime.type for runtime in plan.runtimes}) == 3
    assert len({task.task_id for task in plan.tasks}) < len(plan.tasks), "no two tenants have tasks with one id"
    assert {task.runtime for task in plan.tasks} == {runtime.name for runtime in plan.runtimes}
    for task in plan.tasks:
        waits = plan.away.comes_at - task.at
        if task.kind is TaskKind.UNATTENDED:
            assert task.runtime == plan.away.name
            assert waits > RETENTION > EXPIRY + 2 * EXPIRY_SWEEP
        if task.kind is TaskKind.CROWDED:
            assert task.runtime == plan.away.name
            assert 5 < waits < RETENTION


def test_seeds_bring_all_types_of_runtime_and_one_slot_or_two() -> None:
    plans = [make_plan(seed) for seed in range(20)]
    assert {runtime.type for plan in plans for runtime in plan.runtimes} == set(RuntimeType)
    assert {plan.slots for plan in plans} == {1, 2}
    assert all(runtime.slots == 1 for plan in plans for runtime in plan.runtimes if not KINDS[runtime.type].queues)


@pytest.mark.parametrize("seed", range(20))
def test_hasty_tasks_are_sent_while_their_messages_cannot_go_out_and_the_api_is_killed_then(seed: int) -> None:
    plan = make_plan(seed)
    outages = [
        (fault.at, fault.at + fault.seconds)
        for fault in plan.faults
        if fault.kind in {FaultKind.SUBMISSIONS_FAIL, FaultKind.SNS_UNAVAILABLE}
    ]
    hasty = [task.at for task in plan.tasks if task.kind in {TaskKind.HASTY, TaskKind.HASTY_ONCE}]
    assert all(any(begin < at < end for begin, end in outages) for at in hasty)
    kills = [fault.at for fault in plan.faults if fault.kind is FaultKind.API_KILLED]
    assert any(begin < at < end for begin, end in outages for at in kills)

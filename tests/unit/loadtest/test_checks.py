"""Checks: each holds and fails where it should, says why, and fails when there was nothing to look at."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.record import Status
from contract.scaling.settings import Scaling
from loadtest.checks import judge
from loadtest.run import percentile
from loadtest.samples import Depth, Replicas, Sample
from loadtest.scaling_checks import Moment, called_at
from loadtest.scenario import Checks, ScalingCheck
from loadtest.target import Kind
from loadtest.tasks import Answer, Heard, Task
from loadtest.verdict import Outcome
from tests.unit.loadtest.support import BEGAN, run, sample, seen, task

NONE = {"generator_lag": None}
ALL = Checks(
    no_task_lost=True,
    no_contradiction=True,
    no_task_failed=True,
    no_task_refused=True,
    p95_end_to_end=1,
    drained_within=1,
    only_throttled=True,
    gpu_idle_at_most=10,
    scaling=ScalingCheck(
        scale_out_within=1, reached_within=1, back_to_min_within=1, no_busy_replica_removed=True, runtime="sdruntime"
    ),
)


def outcome(
    checks: Checks, tasks: list[Task] | None = None, samples: list[Sample] | None = None, **facts: object
) -> Outcome:
    """Returns the only outcome of a run."""
    [found] = judge(run(checks, tasks, samples, **facts))
    return found


def scaling(samples: list[Sample], tasks: list[Task] | None = None, **check: object) -> Outcome:
    """Returns the outcome of one scaling check."""
    settings = ScalingCheck.model_validate({"never_above_max": False, **check})
    return outcome(Checks.model_validate({**NONE, "scaling": settings}), tasks or [task(1)], samples)


def test_every_check_fails_when_there_was_nothing_to_look_at() -> None:
    found = judge(run(ALL))
    assert len(found) == 10
    for item in found:
        assert not item.passed
        assert "nothing to look at" in item.says


def test_every_check_but_the_scalers_fails_on_samples_without_anything_in_them() -> None:
    found = judge(run(ALL, samples=[sample(at) for at in range(60)]))
    assert [item.name for item in found if item.passed] == ["sdruntime: never above 4 replicas"]


def test_a_scenario_without_checks_does_not_hold() -> None:
    assert not outcome(Checks.model_validate(NONE), [task(1)]).passed


def test_an_interrupted_test_does_not_hold_whatever_its_checks_say() -> None:
    found = judge(run(Checks(no_task_lost=True), [task(1)], interrupted=True))
    assert [item.passed for item in found] == [False, True, True]


def test_a_test_that_was_to_kill_an_agent_and_did_not_does_not_hold() -> None:
    checks = Checks.model_validate({**NONE, "no_task_lost": True})
    assert outcome(checks, [task(1)], kills_asked=1, kills=[BEGAN + 5]).passed
    found = judge(run(checks, [task(1)], kills_asked=2, kills=[BEGAN + 5]))
    assert [item.passed for item in found] == [False, True]
    assert "1 of 2" in found[0].says


def test_a_lost_task_is_named() -> None:
    checks = Checks.model_validate({**NONE, "no_task_lost": True})
    assert outcome(checks, [task(1), task(2)]).passed
    lost = outcome(checks, [task(1), task(2, seconds=None)])
    assert not lost.passed
    assert "1 of 2" in lost.says
    assert "lt-2" in lost.says


def test_a_task_that_was_refused_is_not_lost() -> None:
    refused = task(2, seconds=None, status=429, answer=Answer.THROTTLED)
    assert outcome(Checks.model_validate({**NONE, "no_task_lost": True}), [task(1), refused]).passed


def test_a_second_callback_may_repeat_the_first_but_not_contradict_it() -> None:
    checks = Checks.model_validate({**NONE, "no_contradiction": True})
    twice = task(1)
    twice.heard.append(Heard(at=BEGAN + 9, result=True, digest="same"))
    assert outcome(checks, [twice]).passed
    twice.heard.append(Heard(at=BEGAN + 10, result=False, digest="other"))
    assert not outcome(checks, [twice]).passed


def test_a_failed_task_is_named_with_its_reason() -> None:
    failed = task(1, heard=[Heard(at=BEGAN, result=False, digest="x")], seen=seen(BEGAN, 1.0, error="out of memory"))
    found = outcome(Checks.model_validate({**NONE, "no_task_failed": True}), [failed])
    assert not found.passed
    assert "out of memory" in found.says


def test_every_request_must_have_been_accepted_and_why_one_was_not_is_said() -> None:
    checks = Checks.model_validate({**NONE, "no_task_refused": True})
    assert outcome(checks, [task(1)]).passed
    for status, answer in ((429, Answer.THROTTLED), (503, Answer.REFUSED), (0, Answer.UNKNOWN)):
        found = outcome(checks, [task(1), task(2, seconds=None, status=status, answer=answer)])
        assert not found.passed
        assert found.says == f"1 of 2 requests were not accepted: {status or 'no answer'}"


def test_throttling_must_be_seen_and_be_the_only_refusal() -> None:
    checks = Checks.model_validate({**NONE, "only_throttled": True})
    throttled = task(2, seconds=None, status=429, answer=Answer.THROTTLED)
    broken = task(3, seconds=None, status=503, answer=Answer.REFUSED, problem="503 unavailable")
    assert not outcome(checks, [task(1)]).passed
    assert outcome(checks, [task(1), throttled]).passed
    found = outcome(checks, [task(1), throttled, broken])
    assert not found.passed
    assert "503" in found.says


def test_a_load_that_was_late_itself_does_not_count() -> None:
    checks = Checks(generator_lag=0.5)
    assert outcome(checks, [task(1)]).passed
    assert not outcome(checks, [task(1, sent_at=BEGAN + 2)]).passed


def test_the_95th_percentile_is_held_to_its_limit() -> None:
    tasks = [task(number, seconds=1.0) for number in range(19)] + [task(20, seconds=50.0)]
    assert outcome(Checks.model_validate({**NONE, "p95_end_to_end": 1}), tasks).passed
    assert not outcome(Checks.model_validate({**NONE, "p95_end_to_end": 0.9}), tasks).passed


def test_tasks_that_never_ended_are_later_than_any_limit() -> None:
    checks = Checks.model_validate({**NONE, "p95_end_to_end": 100})
    assert outcome(checks, [task(number) for number in range(19)] + [task(20, seconds=None)]).passed
    found = outcome(checks, [task(1), task(2, seconds=None)])
    assert not found.passed
    assert found.says == "only 1 of 2 tasks ended"


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: float) -> None:
    found = percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9
    assert sum(value < found for value in values) < percent / 100 * len(values) + 1e-9


@pytest.mark.parametrize(("empty_at", "holds"), [(15, True), (35, False)])
def test_the_queue_must_be_empty_soon_after_the_loads_end(empty_at: int, holds: bool) -> None:
    samples = [sample(at, 5 if at < empty_at else 0) for at in range(60)]
    assert outcome(Checks.model_validate({**NONE, "drained_within": 20}), [task(1)], samples).passed is holds


def test_a_queue_that_fills_again_is_not_drained() -> None:
    samples = [sample(at, 1 if at == 59 else 0) for at in range(60)]
    assert not outcome(Checks.model_validate({**NONE, "drained_within": 20}), [task(1)], samples).passed


def test_a_queue_that_nobody_saw_after_the_loads_end_is_not_drained() -> None:
    samples = [sample(at, 5 if at < 5 else 0) for at in range(9)]  # the load ends at 10
    found = outcome(Checks.model_validate({**NONE, "drained_within": 20}), [task(1)], samples)
    assert not found.passed
    assert "nothing to look at" in found.says


@pytest.mark.parametrize(("share", "holds"), [(0.9, True), (0.5, False)])
def test_idle_gpus_are_measured_by_their_busy_seconds(share: float, holds: bool) -> None:
    samples = [sample(at, 1 if at < 30 else 0, busy=at * share if at < 30 else 30 * share) for at in range(60)]
    found = outcome(Checks.model_validate({**NONE, "gpu_idle_at_most": 20}), [task(1)], samples)
    assert found.passed is holds, "and what is idle after the queue is empty does not count"


def follow(added_at: int, removed_at: int = 999) -> list[Sample]:
    """A queue that calls at second 5 and is empty at 30; three more replicas from `added_at` to `removed_at`."""
    return [sample(at, 30 if 5 <= at < 30 else 0, ready=4 if added_at <= at < removed_at else 1) for at in range(200)]


@pytest.mark.parametrize(("added_at", "holds"), [(12, True), (20, False)])
def test_scale_out_must_begin_soon_after_the_queue_called(added_at: int, holds: bool) -> None:
    assert scaling(follow(added_at), scale_out_within=10).passed is holds


@pytest.mark.parametrize(("added_at", "holds"), [(12, True), (20, False)])
def test_the_needed_replicas_must_be_ready_in_time(added_at: int, holds: bool) -> None:
    assert scaling(follow(added_at), needed=4, reached_within=10).passed is holds


@pytest.mark.parametrize(
    ("depth", "there", "settings", "calls"),
    [
        (Depth(visible=6), 1, {}, True),
        (Depth(visible=5), 1, {}, False),
        (Depth(visible=3, in_flight=3), 1, {}, True),
        (Depth(visible=3, in_flight=3), 1, {"scaleOnInFlight": False}, False),
        (Depth(visible=3, delayed=3), 1, {}, False),
        (Depth(visible=3, delayed=3), 1, {"scaleOnDelayed": True}, True),
        (Depth(visible=1), 0, {}, True),
        (Depth(visible=4), 0, {"activationQueueLength": 4}, False),
        (Depth(visible=5), 0, {"activationQueueLength": 4}, True),
        (Depth(visible=6), 1, {"activationQueueLength": 9}, True),
    ],
)
def test_the_queue_calls_when_keda_or_the_hpa_would_add_a_replica(
    depth: Depth, there: int, settings: dict[str, Any], calls: bool
) -> None:
    scaling_ = Scaling.model_validate({"queueLength": 5, **settings})
    assert called_at([Moment(0.0, depth, Replicas(ready=there))], scaling_) == (0 if calls else None)


def test_starting_replicas_begin_a_scale_out_but_serve_nothing() -> None:
    samples = [sample(at, 30 if at >= 5 else 0, starting=3 if at >= 7 else 0) for at in range(60)]
    assert scaling(samples, scale_out_within=5).passed
    assert not scaling(samples, needed=4, reached_within=50).passed


def test_a_setting_that_stands_in_the_way_is_named() -> None:
    samples = [sample(at, 30 if at >= 5 else 0) for at in range(60)]
    broken = run(Checks(generator_lag=None, scaling=ScalingCheck(needed=3, reached_within=30)), [task(1)], samples)
    limit = broken.facts.scaling["sdruntime"].model_copy(update={"max_replica_count": 1})
    broken.facts.scaling["sdruntime"] = limit
    found = judge(broken)[0]
    assert not found.passed
    assert "3 replicas were needed, at most 1 were ever ready; maxReplicaCount is 1" in found.says


def test_needed_replicas_follow_from_arrivals_and_seconds_per_task() -> None:
    tasks = [task(number, due=number / 4, seconds=2.0) for number in range(40)]  # four a second, one second each
    assert "reached the needed 4 replicas" in scaling(follow(8), tasks, reached_within=10).name


def test_replicas_must_never_exceed_the_maximum() -> None:
    assert scaling(follow(8), never_above_max=True).passed
    assert not scaling([sample(0, ready=5)], never_above_max=True).passed


@pytest.mark.parametrize(("removed_at", "holds"), [(30 + 360, True), (30 + 380, False), (999, False)])
def test_replicas_must_be_back_at_the_minimum_after_the_scalers_own_windows(removed_at: int, holds: bool) -> None:
    """The HPA's window is 300 s, and 60 are granted beyond it."""
    samples = [sample(at, 30 if 5 <= at < 30 else 0, ready=4 if 8 <= at < removed_at else 1) for at in range(500)]
    assert scaling(samples, back_to_min_within=60).passed is holds


def test_replicas_that_nobody_saw_after_the_queue_was_empty_are_not_back_at_the_minimum() -> None:
    blind = [item.model_copy(update={"replicas": {}}) for item in follow(8, 100) if item.at >= BEGAN + 30]
    found = scaling([*follow(8, 100)[:30], *blind], back_to_min_within=60)
    assert not found.passed
    assert "nothing to look at" in found.says


def test_a_task_that_was_handed_back_shows_that_a_busy_replica_was_removed() -> None:
    samples = follow(8, 100)
    assert scaling(samples, [task(1)], no_busy_replica_removed=True).passed
    interrupted = task(2, seen=seen(BEGAN + 98, 2.0, attempts=2, excused=1))
    found = scaling(samples, [task(1), interrupted], no_busy_replica_removed=True)
    assert not found.passed
    assert "1 tasks were handed back" in found.says


@pytest.mark.parametrize("excused", [0, 1])
def test_a_task_that_began_again_before_any_replica_went_says_nothing_about_scale_in(excused: int) -> None:
    again = task(1, seen=seen(BEGAN, 2.0, attempts=2, excused=excused))
    assert scaling(follow(8, 100), [again], no_busy_replica_removed=True).passed


def test_a_task_that_was_handed_back_and_never_begun_again_counts_whenever_it_began() -> None:
    lost = task(1, seen=seen(BEGAN, 2.0, attempts=1, excused=1, status=Status.RUNNING))
    assert not scaling(follow(8, 100), [lost], no_busy_replica_removed=True).passed


def test_without_any_record_nothing_is_known_of_busy_replicas() -> None:
    found = scaling(follow(8, 100), [task(1, seen=None)], no_busy_replica_removed=True)
    assert not found.passed
    assert "nothing to look at" in found.says


def test_what_was_killed_on_purpose_is_not_blamed_on_the_scaler() -> None:
    checks = Checks(generator_lag=None, scaling=ScalingCheck(never_above_max=False, no_busy_replica_removed=True))
    again = task(1, seen=seen(BEGAN + 150, 2.0, attempts=2))
    assert not outcome(checks, [again], follow(8, 100)).passed
    assert outcome(checks, [again], follow(8, 100), kills=[BEGAN + 5]).passed


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=40),
    st.lists(st.floats(0.1, 30), max_size=10),
)
def test_judging_never_fails_whatever_was_seen(moments: list[tuple[int, int]], ends: list[float]) -> None:
    samples = [sample(at, messages, ready) for at, (messages, ready) in enumerate(moments)]
    found = judge(run(ALL, [task(number, seconds=item) for number, item in enumerate(ends)], samples))
    assert found
    assert all(item.says and "\n" not in item.says for item in found)


def flood_of(quiet_wait: float) -> list[Task]:
    """Returns 200 tasks of one tenant at once, and one of each of 20 others, each of which waited so long."""
    loud = [task(number, due=0.0, seconds=2.0 + 2 * number, tenant="loud") for number in range(200)]
    quiet = []
    for number in range(20):
        made = task(1000 + number, due=10.0 + number, tenant=f"quiet-{number}")
        assert made.seen is not None
        begins = made.due_at + 0.05 + quiet_wait
        quiet.append(
            made.model_copy(
                update={
                    "seen": made.seen.model_copy(
                        update={"started_at": begins, "finished_at": begins + 1, "generation": 1.0}
                    ),
                    "heard": [Heard(at=begins + 1.1, result=True, digest="same")],
                }
            )
        )
    return [
        *(
            item.model_copy(update={"seen": item.seen and item.seen.model_copy(update={"generation": 1.0})})
            for item in loud
        ),
        *quiet,
    ]


@pytest.mark.parametrize(
    ("target", "quiet_wait", "holds"),
    [(Kind.AWS, 1.0, True), (Kind.AWS, 150.0, False), (Kind.LOCAL, 150.0, True)],
)
def test_quiet_keys_are_judged_on_aws_and_elsewhere_stand_beside_the_planners_number(
    target: Kind, quiet_wait: float, holds: bool
) -> None:
    checks = Checks.model_validate({**NONE, "fair_shares": True})
    found = outcome(checks, flood_of(quiet_wait), [sample(1)], target=target)
    assert found.passed is holds, found.says
    assert f"at most {quiet_wait:.1f} s; foretold: " in found.says
    assert ("not judged" in found.says) is (target is Kind.LOCAL)


def test_quiet_keys_without_a_replica_are_nothing_to_look_at() -> None:
    checks = Checks.model_validate({**NONE, "fair_shares": True})
    assert not outcome(checks, flood_of(1.0), []).passed

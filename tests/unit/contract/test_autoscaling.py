"""The decisions of KEDA and the HPA: worked examples of the documented rules, and what holds for all settings."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.config import RuntimeConfig
from contract.scaling import hpa, keda
from contract.scaling.autoscaler import Autoscaler, resting_at
from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling, scaling_of
from contract.task import RuntimeType

FAST_DOWN: dict[str, Any] = {"scaleDown": {"stabilizationWindowSeconds": 0}}
UNLIMITED: dict[str, Any] = {"scaleUp": {"policies": [{"type": "Percent", "value": 100_000, "periodSeconds": 15}]}}


def settings(**values: Any) -> Scaling:
    return Scaling.model_validate(values)


POLICIES = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Pods", "Percent"]),
            "value": st.integers(1, 200),
            "periodSeconds": st.integers(1, 120),
        }
    ),
    min_size=1,
    max_size=3,
)
RULES = st.fixed_dictionaries(
    {
        "stabilizationWindowSeconds": st.integers(0, 120),
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "policies": POLICIES,
        "tolerance": st.floats(0, 0.5),
    }
)


@st.composite
def any_settings(draw: st.DrawFn) -> Scaling:
    least = draw(st.integers(0, 5))
    return settings(
        queueLength=draw(st.integers(1, 30)),
        minReplicaCount=least,
        maxReplicaCount=draw(st.integers(max(1, least), 40)),
        pollingInterval=draw(st.integers(1, 30)),
        cooldownPeriod=draw(st.integers(0, 120)),
        activationQueueLength=draw(st.integers(0, 5)),
        extraHPAConfig={"scaleUp": draw(RULES), "scaleDown": draw(RULES)},
    )


def run(scaling: Scaling, load: list[int], *, step: float = 15.0) -> list[int]:
    """Returns the wanted replicas after each look at a queue that holds `load[n]` messages at second `n * step`."""
    autoscaler = Autoscaler(scaling)
    return [autoscaler.decide(number * step, Backlog(messages)) for number, messages in enumerate(load)]


@example(messages=2, length=1, least=1, most=5, activation=2)
@given(st.integers(0, 500), st.integers(1, 30), st.integers(0, 5), st.integers(5, 40), st.integers(0, 5))
def test_where_the_rules_rest_is_where_the_autoscaler_comes_to_with_a_queue_that_stays(
    messages: int, length: int, least: int, most: int, activation: int
) -> None:
    scaling = settings(
        queueLength=length,
        minReplicaCount=least,
        maxReplicaCount=most,
        activationQueueLength=activation,
        cooldownPeriod=0,
        extraHPAConfig={"scaleUp": {"tolerance": 0, **UNLIMITED["scaleUp"]}, "scaleDown": {"tolerance": 0}},
    )
    assert run(scaling, [messages] * 6)[-1] == resting_at(scaling, Backlog(messages))


def test_without_scaling_there_are_always_as_many_as_at_least() -> None:
    assert resting_at(settings(enabled=False), Backlog(500)) == 1
    assert resting_at(settings(enabled=False, minReplicaCount=3), Backlog(0)) == 3


@pytest.mark.parametrize(
    ("in_flight", "delayed", "messages"), [(True, False, 12), (False, False, 10), (True, True, 15), (False, True, 13)]
)
def test_the_number_is_what_waits_plus_what_the_settings_count(in_flight: bool, delayed: bool, messages: int) -> None:
    scaling = settings(scaleOnInFlight=in_flight, scaleOnDelayed=delayed)
    assert keda.metric(scaling, Backlog(visible=10, in_flight=2, delayed=3)) == messages


@pytest.mark.parametrize(
    ("replicas", "messages", "wanted"),
    [
        (1, 10, 1),
        (1, 11, 1),  # within the tolerance of a tenth
        (1, 12, 2),
        (4, 36, 4),
        (4, 35, 4),  # beyond the tolerance, and still four are needed
        (4, 30, 3),
        (10, 0, 0),
        (2, 1000, 100),
    ],
)
def test_the_recommendation_is_messages_by_target_beyond_the_tolerance(
    replicas: int, messages: int, wanted: int
) -> None:
    assert hpa.recommend(settings(queueLength=10), replicas=replicas, messages=messages) == wanted


def test_by_default_replicas_double_or_grow_by_four_every_15_seconds() -> None:
    assert run(settings(queueLength=1, minReplicaCount=1, maxReplicaCount=100), [500] * 6) == [5, 10, 20, 40, 80, 100]


def test_the_first_replica_comes_at_a_poll_and_the_last_ones_go_after_the_cooldown_at_once() -> None:
    scaling = settings(queueLength=1, pollingInterval=5, cooldownPeriod=40)
    # KEDA takes the step from zero and the HPA the next; its window of 300 s would hold on, but KEDA ends it.
    assert run(scaling, [0, 3, 3, 0, 0, 0, 0, 0], step=10) == [0, 1, 3, 3, 3, 3, 3, 0]


def test_the_activation_threshold_must_be_exceeded() -> None:
    assert run(settings(activationQueueLength=5), [5, 5, 6]) == [0, 0, 1]


def test_the_cooldown_means_nothing_with_a_minimum_above_zero() -> None:
    scaling = settings(queueLength=1, minReplicaCount=1, cooldownPeriod=0)
    assert run(scaling, [4] * 3 + [0] * 21)[2:] == [4] * 20 + [1] * 2


def test_scale_in_waits_for_the_highest_recommendation_of_its_window() -> None:
    scaling = settings(
        queueLength=1, minReplicaCount=1, extraHPAConfig={"scaleDown": {"stabilizationWindowSeconds": 60}}
    )
    assert run(scaling, [5, 5, 5, 2, 2, 2, 2, 2]) == [5, 5, 5, 5, 5, 5, 2, 2]


def test_scale_out_waits_for_the_lowest_recommendation_of_its_window() -> None:
    scaling = settings(queueLength=1, minReplicaCount=1, extraHPAConfig={"scaleUp": {"stabilizationWindowSeconds": 45}})
    assert run(scaling, [1, 5, 5, 5, 5]) == [1, 1, 1, 5, 5]


def test_a_policy_counts_what_has_changed_within_its_period() -> None:
    rules = {"scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}}
    scaling = settings(queueLength=1, minReplicaCount=1, extraHPAConfig=rules)
    assert run(scaling, [50] * 10) == [3, 3, 3, 3, 5, 5, 5, 5, 7, 7]


def test_a_disabled_direction_does_not_move() -> None:
    scaling = settings(queueLength=1, minReplicaCount=1, extraHPAConfig={"scaleDown": {"selectPolicy": "Disabled"}})
    assert run(scaling, [3, 3] + [0] * 40)[-1] == 3


def test_switched_off_it_keeps_one_replica() -> None:
    assert run(settings(enabled=False), [0, 500, 0]) == [1, 1, 1]


def test_a_queue_that_cannot_be_read_changes_nothing_until_the_fallback_takes_over() -> None:
    scaling = settings(queueLength=1, minReplicaCount=1, fallback={"replicas": 4, "failureThreshold": 2})
    autoscaler = Autoscaler(scaling)
    looks = [Backlog(2), None, None, None, Backlog(6), None, None, None]
    assert [autoscaler.decide(number * 15.0, look) for number, look in enumerate(looks)] == [2, 2, 4, 4, 6, 6, 6, 6]


SEEN = [(0, 2, [(0, 23), (1, 41)]), (1, 2, [(1, 28)]), (0, 3, [(0, 32), (1, 55)]), (1, 3, [(1, 29)])]
"""Fewest replicas, failureThreshold, and how long there were how many replicas with KEDA 2.20.2 on a real API server,
connections refused: fallback of 3 replicas."""


@pytest.mark.parametrize(("fewest", "threshold", "seen"), SEEN)
def test_the_fallback_counts_kedas_own_looks_too_and_comes_from_no_replica(
    fewest: int, threshold: int, seen: list[tuple[int, float]]
) -> None:
    fallback = {"replicas": 3, "failureThreshold": threshold}
    scaling = settings(queueLength=10, minReplicaCount=fewest, fallback=fallback)
    autoscaler = Autoscaler(scaling)
    wanted = [autoscaler.decide(tick / 10, None) for tick in range(600)]
    steps = [(before, tick / 10) for tick, (before, after) in enumerate(pairwise(wanted)) if before != after]
    assert wanted[-1] == 3
    assert [replicas for replicas, _ in steps] == [replicas for replicas, _ in seen]
    # When in its fifteen seconds the HPA looks is chance, in both.
    for periods, ((_, foretold), (_, found)) in enumerate(zip(steps, seen, strict=True), 1):
        assert abs(foretold - found) <= periods * hpa.SYNC_PERIOD


def test_thirty_failed_looks_are_three_minutes() -> None:
    autoscaler = Autoscaler(settings(minReplicaCount=0, fallback={"replicas": 3}))
    wanted = {tick: autoscaler.decide(float(tick), None) for tick in range(300)}
    assert 150 < min(second for second, replicas in wanted.items() if replicas) < 210


def test_only_failures_in_a_row_count_from_no_replica_too() -> None:
    autoscaler = Autoscaler(settings(minReplicaCount=0, fallback={"replicas": 3, "failureThreshold": 3}))
    looks = [None if tick % 20 < 12 else Backlog(0) for tick in range(300)]
    assert {autoscaler.decide(float(tick), look) for tick, look in enumerate(looks)} == {0}


BURST = [0, 45, 45, 45, 20, 0, *[0] * 8, 1, 1, 1]
"""Messages every 15 s: a burst, an empty queue until all replicas are gone, and one message soon after it."""


@pytest.mark.parametrize(("has_behaviour", "after"), [(True, 1), (False, 5)])
def test_one_message_soon_after_a_burst_costs_one_replica_or_as_many_as_the_burst(
    has_behaviour: bool, after: int
) -> None:
    """Seen with KEDA 2.20.2: without `behavior` 1, then 4, then 5 ("All metrics below target"), and 1 with it."""
    scaling = settings(queueLength=10)
    wanted = run(scaling if has_behaviour else scaling.without_behaviour(), BURST)
    assert max(wanted[:6]) == 5
    assert wanted[13] == 0
    assert max(wanted[14:]) == after


def test_another_chart_is_foretold_by_the_older_rules_unless_it_sets_a_behaviour() -> None:
    def rules(**described: Any) -> bool:
        return scaling_of(RuntimeConfig(name="sd", type=RuntimeType.SDWEBUI, **described)).has_behaviour

    theirs = {"chartRepository": "oci://r.example/charts/theirs", "chartVersion": "1.0.0"}
    own = {"runtime": {"scaling": {"extraHPAConfig": {"scaleDown": {"stabilizationWindowSeconds": 7}}}}}
    assert rules()
    assert not rules(**theirs)
    assert rules(**theirs, extraValues=own)


def test_without_a_fallback_a_queue_that_cannot_be_read_changes_nothing() -> None:
    autoscaler = Autoscaler(settings(queueLength=1, cooldownPeriod=0))
    looks = [Backlog(2), *[None] * 40]
    assert {autoscaler.decide(number * 15.0, look) for number, look in enumerate(looks)} == {2}


@given(scaling=any_settings(), load=st.lists(st.integers(0, 2000), min_size=1, max_size=60))
def test_wanted_replicas_stay_within_the_limits(scaling: Scaling, load: list[int]) -> None:
    wanted = run(scaling, load, step=7.0)
    assert all(scaling.min_replica_count <= replicas <= scaling.max_replica_count for replicas in wanted)


@given(scaling=any_settings(), messages=st.integers(0, 2000))
def test_a_steady_load_comes_to_rest_within_the_tolerance_of_what_it_needs(scaling: Scaling, messages: int) -> None:
    scaling = scaling.model_copy(
        update={"behaviour": settings(extraHPAConfig=FAST_DOWN | UNLIMITED).behaviour, "cooldown_period": 0}
    )
    wanted = run(scaling, [messages] * 20)
    assert len(set(wanted[10:])) == 1
    active = messages > scaling.activation_queue_length
    least = max(scaling.min_replica_count, int(active))
    if not active and scaling.min_replica_count == 0:
        assert wanted[-1] == 0
    else:
        needed = messages / scaling.queue_length
        assert wanted[-1] >= min(scaling.max_replica_count, math.floor(needed / 1.1))
        assert wanted[-1] <= max(least, min(scaling.max_replica_count, math.ceil(needed / 0.9)))


@given(scaling=any_settings(), load=st.lists(st.integers(0, 2000), min_size=2, max_size=40))
def test_more_load_at_once_never_recommends_fewer_replicas(scaling: Scaling, load: list[int]) -> None:
    for few, many in zip(sorted(load), sorted(load)[1:], strict=False):
        for replicas in (1, 3):
            fewer, more = (hpa.recommend(scaling, replicas=replicas, messages=count) for count in (few, many))
            assert fewer <= more


@given(scaling=any_settings(), load=st.lists(st.integers(0, 2000), min_size=1, max_size=40), step=st.floats(0.5, 40))
def test_nothing_is_decided_before_it_is_due(scaling: Scaling, load: list[int], step: float) -> None:
    autoscaler = Autoscaler(scaling)
    now = 0.0
    for messages in load:
        before, due = autoscaler.wanted, autoscaler.due
        wanted = autoscaler.decide(now, Backlog(messages))
        assert now >= due or wanted == before
        assert autoscaler.due > now
        now += step

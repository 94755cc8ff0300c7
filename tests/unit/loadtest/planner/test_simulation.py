"""The planner's simulation: worked examples that can be counted by hand, and what holds for any load and settings."""

from __future__ import annotations

import math
import resource
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from contract.prices import Capacity
from contract.scaling.settings import Scaling
from loadtest.planner.arrivals import Random, Recorded
from loadtest.planner.asking import Delivery
from loadtest.planner.model import Nodes, Run, Work
from loadtest.planner.simulation import Outcome, simulate
from loadtest.shapes import Steady

NODES = Nodes(
    capacity=Capacity.ON_DEMAND, node_seconds=40, image_seconds=20, start_seconds=10, model_seconds=5, spread=0
)
PROMPT = Nodes(node_seconds=0, image_seconds=0, start_seconds=0, model_seconds=0, spread=0, interruptions_per_hour=0)
INSTANT = replace(PROMPT, batch_idle=0.0)


def scaled(**values: Any) -> Scaling:
    return Scaling.model_validate(values)


def run(nodes: Nodes = NODES, **work: Any) -> Run:
    return Run(work=Work(**work), nodes=nodes)


def times(outcome: Outcome) -> tuple[float, float]:
    return round(outcome.waits.highest, 3), round(outcome.latencies.highest, 3)


def test_the_first_task_waits_for_poll_batch_node_image_process_and_model() -> None:
    outcome = simulate(Recorded((0.5,)), scaled(pollingInterval=2), run(seconds=3))
    # The poll at 2 s, a second of Karpenter's batch, 40 + 20 + 10 + 5 s.
    assert times(outcome) == (2 - 0.5 + 1 + 75, 2 - 0.5 + 1 + 75 + 3)
    assert (outcome.node_starts, outcome.cold_starts, outcome.warm_starts, outcome.peak_nodes) == (1, 1, 0, 1)


def test_a_node_is_paid_from_its_launch_until_it_has_been_empty_for_a_while() -> None:
    outcome = simulate(Recorded((0.0,)), scaled(cooldownPeriod=60), run(seconds=3))
    # Active until the poll at 78 s; the first one after the cooldown is at 139 s; then 30 s of an empty node.
    assert outcome.node_seconds == pytest.approx(139 - 1 + 30)
    assert outcome.busy_seconds == pytest.approx(3)
    assert outcome.utilisation == pytest.approx(3 / 168)


def test_a_node_that_is_still_there_saves_the_next_replica_its_start() -> None:
    patient = replace(NODES, consolidate_after=600)
    outcome = simulate(Recorded((0.0, 300.0)), scaled(cooldownPeriod=60), run(patient, seconds=3))
    assert (outcome.node_starts, outcome.cold_starts, outcome.warm_starts) == (1, 1, 1)


def test_pods_that_come_within_the_batch_are_launched_together_and_no_later_than_its_end() -> None:
    slow = replace(NODES, batch_idle=5.0, batch_max=7.0)
    three = scaled(queueLength=1, maxReplicaCount=3)
    outcome = simulate(Recorded((0.0, 0.0, 0.0)), three, run(slow, seconds=3, prefetch=0))
    assert times(outcome)[0] == 5 + 75  # all three are asked for at once
    assert outcome.peak_nodes == 3


def test_one_gpu_serves_tasks_in_the_order_of_their_arrival() -> None:
    outcome = simulate(
        Recorded((100.0, 100.0, 101.0)), scaled(minReplicaCount=1, maxReplicaCount=1), run(INSTANT, seconds=2)
    )
    assert times(outcome) == (3, 5)
    assert outcome.waits.at(50) == pytest.approx(2, rel=0.001)


def test_without_a_scaler_one_node_is_paid_for_as_long_as_the_load_lasts() -> None:
    outcome = simulate(Recorded((0.0, 300.0)), scaled(enabled=False), run(seconds=3))
    assert outcome.peak_nodes == 1
    assert outcome.node_seconds == pytest.approx(300, abs=20)


@pytest.mark.parametrize("rules", [{"selectPolicy": "Disabled"}, {"tolerance": 1.0}])
def test_replicas_that_the_hpa_never_takes_away_end_the_plan_with_the_load(rules: dict[str, Any]) -> None:
    arrivals = Recorded((*[60.0] * 40, 600.0))
    stubborn = scaled(queueLength=5, minReplicaCount=1, extraHPAConfig={"scaleDown": rules})
    outcome = simulate(arrivals, stubborn, run(INSTANT, seconds=3))
    assert (outcome.tasks, outcome.samples[-1].replicas) == (41, 5)
    assert outcome.ended < 620
    assert outcome.node_seconds < 620 * 5


def test_kedas_activation_threshold_strands_what_stays_below_it() -> None:
    outcome = simulate(Recorded((1.0, 2.0)), scaled(activationQueueLength=2), run())
    assert (outcome.tasks, outcome.unfinished, outcome.node_starts) == (0, 2, 0)


def test_scale_in_lets_a_busy_replica_finish_within_its_grace_and_no_longer() -> None:
    impatient = scaled(
        queueLength=1,
        minReplicaCount=1,
        maxReplicaCount=2,
        scaleOnInFlight=False,
        extraHPAConfig={"scaleDown": {"stabilizationWindowSeconds": 0}},
    )
    arrivals = Recorded((0.0, 0.1, 0.2, 0.3))
    gentle = simulate(arrivals, impatient, run(INSTANT, seconds=40, prefetch=0, grace_seconds=50))
    assert (gentle.interrupted_tasks > 0, gentle.repeated_tasks, gentle.tasks) == (True, 0, 4)
    harsh = simulate(arrivals, impatient, run(INSTANT, seconds=40, prefetch=0, grace_seconds=1))
    assert harsh.repeated_tasks > 0
    assert harsh.tasks == 4
    assert harsh.busy_seconds > gentle.busy_seconds


def test_an_interrupted_node_is_replaced_and_its_task_is_done_nonetheless() -> None:
    risky = replace(NODES, capacity=Capacity.SPOT, interruptions_per_hour=6.0)
    outcome = simulate(
        Random(Steady(kind="steady", duration=20_000, rate=0.03)),
        scaled(minReplicaCount=1),
        run(risky, seconds=20, grace_seconds=5),
    )
    safe = simulate(
        Random(Steady(kind="steady", duration=20_000, rate=0.03)),
        scaled(minReplicaCount=1),
        run(replace(risky, capacity=Capacity.ON_DEMAND)),
    )
    assert outcome.node_interruptions > 10
    assert outcome.repeated_tasks > 3
    assert outcome.tasks == safe.tasks
    assert safe.node_interruptions == safe.repeated_tasks == 0


def test_the_same_seed_gives_the_same_plan_and_another_one_does_not() -> None:
    load, settings_ = Random(Steady(kind="steady", duration=3600, rate=0.5)), scaled(queueLength=3)
    first, again, other = (simulate(load, settings_, Run(seed=seed)) for seed in (7, 7, 8))
    assert (first.node_seconds, first.latencies.sum, first.samples) == (
        again.node_seconds,
        again.latencies.sum,
        again.samples,
    )
    assert first.latencies.sum != other.latencies.sum


def test_one_gpu_waits_as_queueing_theory_says() -> None:
    """M/D/1 at a load of 0.7: the mean wait is ρ / (2 (1 - ρ)) services (Pollaczek and Khinchine)."""
    outcome = simulate(
        Random(Steady(kind="steady", duration=50_000, rate=0.7)),
        scaled(minReplicaCount=1, maxReplicaCount=1),
        run(INSTANT, seconds=1.0),
    )
    assert outcome.tasks > 30_000
    assert outcome.waits.mean == pytest.approx(0.7 / (2 * 0.3), rel=0.1)
    assert outcome.utilisation == pytest.approx(0.7, rel=0.02)


ONE = scaled(minReplicaCount=1, maxReplicaCount=1)
TWO = scaled(minReplicaCount=2, maxReplicaCount=2)


@pytest.mark.parametrize(
    ("slots", "gap", "seconds_per_task"),
    [
        (1, 0.5, 2.5),  # the GPU waits for each answer
        (2, 0.5, 2.0),  # the next run goes on meanwhile
        (2, 3.0, 2.5),  # both slots' answers are on their way: 2 runs in 2 + 3 s
        (3, 3.0, 2.0),
    ],
)
def test_a_gpu_that_is_never_out_of_tasks_waits_for_answers_only_as_long_as_all_slots_do(
    slots: int, gap: float, seconds_per_task: float
) -> None:
    outcome = simulate(Recorded((100.0,) * 200), ONE, run(INSTANT, seconds=2, slots=slots, gap=gap))
    assert outcome.latencies.highest / 200 == pytest.approx(seconds_per_task, rel=0.01)
    assert outcome.busy_seconds == pytest.approx(400)


ARRIVALS = st.lists(st.floats(0, 600), min_size=1, max_size=80).map(lambda moments: Recorded(tuple(sorted(moments))))


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    arrivals=ARRIVALS,
    slots=st.integers(1, 3),
    seconds=st.floats(0.1, 30),
    gap=st.floats(0, 30),
    spread=st.sampled_from([0.0, 0.5]),
    prefetch=st.integers(0, 2),
)
def test_at_one_gpu_another_slot_never_makes_anybody_wait_longer(
    arrivals: Recorded, slots: int, seconds: float, gap: float, spread: float, prefetch: int
) -> None:
    some, more = (
        simulate(arrivals, ONE, run(INSTANT, seconds=seconds, gap=gap, spread=spread, slots=count, prefetch=prefetch))
        for count in (slots, slots + 1)
    )
    assert some.tasks == more.tasks == len(arrivals.times)
    assert more.waits.sum <= some.waits.sum + 1e-6
    assert more.latencies.highest <= some.latencies.highest + 1e-6


def mean_wait(delivery: Delivery, slots: int, prefetch: int, *, spread: float = 0.0) -> float:
    """Of two GPUs at a load of 0.6."""
    load = Random(Steady(kind="steady", duration=8_000, rate=0.6))
    work = Work(seconds=2, slots=slots, prefetch=prefetch, spread=spread)
    return simulate(load, TWO, Run(work, INSTANT, delivery=delivery)).waits.mean


def test_agents_that_get_messages_by_chance_let_them_wait_although_another_one_is_idle() -> None:
    held = [mean_wait(Delivery.CHANCE, slots, prefetch) for slots, prefetch in [(1, 0), (1, 1), (2, 1)]]
    assert held[0] * 1.2 < held[1] < held[2] / 1.1
    # Where a task waits, at the agent or at the runtime, makes no difference to it.
    assert mean_wait(Delivery.CHANCE, 2, 0) == held[1]


def test_agents_that_get_messages_in_turn_share_equal_tasks_as_one_queue_would() -> None:
    held = [mean_wait(Delivery.OLDEST, slots, prefetch) for slots, prefetch in [(1, 0), (1, 1), (2, 0), (2, 1)]]
    assert held == pytest.approx([held[0]] * 4)
    unequal = [mean_wait(Delivery.OLDEST, slots, 0, spread=1.0) for slots in (1, 2)]
    assert unequal[0] * 1.05 < unequal[1] < mean_wait(Delivery.CHANCE, 2, 0, spread=1.0)


def test_what_agents_hold_is_in_flight() -> None:
    visible_only = scaled(queueLength=1, minReplicaCount=1, maxReplicaCount=2, scaleOnInFlight=False)
    four = Recorded((100.0,) * 4)
    few, many = (simulate(four, visible_only, run(INSTANT, seconds=60, slots=n, prefetch=1)) for n in (1, 2))
    assert (few.peak_nodes, many.peak_nodes) == (2, 1)
    assert (few.tasks, many.tasks) == (4, 4)


def test_a_pod_that_is_told_to_end_runs_what_waits_in_its_slots_and_gives_back_the_rest() -> None:
    """Two pods, each with a task on its GPU, one in its other slot and one beside; one pod is told to end at once."""
    scaling = scaled(
        queueLength=9,
        minReplicaCount=1,
        maxReplicaCount=2,
        scaleOnInFlight=False,
        extraHPAConfig={"scaleDown": {"stabilizationWindowSeconds": 0}},
    )
    arrivals = Recorded((0.0,) * 18)
    patient, hasty = (
        simulate(arrivals, scaling, run(INSTANT, seconds=40, slots=2, grace_seconds=grace)) for grace in (300, 45)
    )
    assert (patient.tasks, patient.interrupted_tasks, patient.repeated_tasks) == (18, 1, 0)
    assert (hasty.tasks, hasty.interrupted_tasks, hasty.repeated_tasks) == (18, 1, 1)
    assert hasty.busy_seconds > patient.busy_seconds == pytest.approx(18 * 40)


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    arrivals=ARRIVALS,
    queue_length=st.integers(1, 10),
    least=st.integers(0, 2),
    most=st.integers(2, 8),
    seconds=st.floats(0.1, 30),
    rate=st.sampled_from([0.0, 5.0]),
    in_flight=st.booleans(),
    delivery=st.sampled_from(Delivery),
    work=st.builds(Work, slots=st.integers(1, 3), prefetch=st.integers(0, 2), gap=st.sampled_from([0.0, 0.3, 5.0])),
    seed=st.integers(0, 5),
)
def test_every_task_ends_once_and_nobody_works_more_than_is_paid_for(
    arrivals: Recorded,
    queue_length: int,
    least: int,
    most: int,
    seconds: float,
    rate: float,
    in_flight: bool,
    delivery: Delivery,
    work: Work,
    seed: int,
) -> None:
    scaling = scaled(queueLength=queue_length, minReplicaCount=least, maxReplicaCount=most, scaleOnInFlight=in_flight)
    nodes = Nodes(interruptions_per_hour=rate, spread=0.3)
    outcome = simulate(
        arrivals, scaling, Run(replace(work, seconds=seconds, grace_seconds=20), nodes, delivery=delivery, seed=seed)
    )
    assert (outcome.tasks, outcome.unfinished) == (len(arrivals.times), 0)
    assert outcome.busy_seconds <= outcome.node_seconds
    assert outcome.busy_seconds >= seconds * outcome.tasks * 0.999
    assert outcome.repeated_tasks <= outcome.interrupted_tasks
    assert outcome.repeated_tasks or outcome.busy_seconds == pytest.approx(seconds * outcome.tasks)
    assert 0 < outcome.waits.at(50) + 1 <= outcome.waits.at(95) + 1 <= outcome.waits.highest + 1
    assert all(0 <= sample.gpu_use <= 1 and sample.ready <= sample.nodes for sample in outcome.samples)
    assert all(sample.replicas <= most for sample in outcome.samples)


def test_a_hundred_thousand_gpus_fit_into_memory_and_100_000_tasks_take_seconds() -> None:
    """A million tasks in a minute of one core is what is asked; here a tenth of it, on GPUs that all start at once."""
    load = Random(Steady(kind="steady", duration=60, rate=100_000 / 60))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    outcome = simulate(
        load, scaled(queueLength=1, minReplicaCount=100_000, maxReplicaCount=100_000), run(PROMPT, seconds=60)
    )
    assert outcome.tasks > 95_000
    assert outcome.peak_nodes == 100_000
    assert time.process_time() - began < 12
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 400 * 1024  # KiB
    assert math.isfinite(outcome.utilisation)

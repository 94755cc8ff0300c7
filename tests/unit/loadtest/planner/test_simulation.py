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
    outcome = simulate(Recorded((0.0, 0.0, 0.0)), scaled(queueLength=1, maxReplicaCount=3), run(slow, seconds=3))
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


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    arrivals=st.lists(st.floats(0, 600), min_size=1, max_size=80).map(lambda moments: Recorded(tuple(sorted(moments)))),
    queue_length=st.integers(1, 10),
    least=st.integers(0, 2),
    most=st.integers(2, 8),
    seconds=st.floats(0.1, 30),
    rate=st.sampled_from([0.0, 5.0]),
    in_flight=st.booleans(),
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
    seed: int,
) -> None:
    scaling = scaled(queueLength=queue_length, minReplicaCount=least, maxReplicaCount=most, scaleOnInFlight=in_flight)
    nodes = Nodes(interruptions_per_hour=rate, spread=0.3)
    outcome = simulate(arrivals, scaling, Run(Work(seconds=seconds, grace_seconds=20), nodes, seed=seed))
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

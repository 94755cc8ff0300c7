"""Which replicas start and which go: by number, by phase, and never one at work."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from contract.config import load_config
from contract.scaling.settings import Scaling
from contract.topology import topology
from local.harness import plan
from local.harness.options import Options
from local.harness.ports import plan_ports
from local.harness.replicas import LIVING, Phase, Replica, StartDelays, capped, free_numbers, surplus


def numbers(replicas: list[Replica]) -> list[int]:
    return [replica.number for replica in replicas]


def test_what_has_got_least_far_goes_first_and_then_the_youngest() -> None:
    fleet = [
        Replica(1, Phase.READY, since=10),
        Replica(2, Phase.READY, since=20),
        Replica(3, Phase.STARTING, since=30),
        Replica(4, Phase.NODE, since=40),
        Replica(5, Phase.DRAINING, since=5),
    ]
    assert numbers(surplus(fleet, 0, busy=[])) == [4, 3, 2, 1]
    assert numbers(surplus(fleet, 2, busy=[])) == [4, 3]
    assert numbers(surplus(fleet, 2, busy=[3])) == [4, 2]


@given(
    fleet=st.lists(
        st.builds(Replica, st.integers(1, 30), st.sampled_from(Phase), st.floats(0, 100)),
        unique_by=lambda replica: replica.number,
    ),
    wanted=st.integers(0, 30),
    busy=st.sets(st.integers(1, 30)),
)
def test_scale_in_never_takes_one_at_work_nor_more_than_are_too_many(
    fleet: list[Replica], wanted: int, busy: set[int]
) -> None:
    going = surplus(fleet, wanted, busy)
    living = [replica for replica in fleet if replica.phase in LIVING]
    assert not busy & set(numbers(going))
    assert all(replica in living for replica in going)
    assert len(going) == min(max(0, len(living) - wanted), len([item for item in living if item.number not in busy]))


@given(taken=st.sets(st.integers(1, 20)), most=st.integers(1, 20))
def test_a_replica_takes_a_number_that_no_other_has(taken: set[int], most: int) -> None:
    free = free_numbers(taken, most)
    assert set(free) == set(range(1, most + 1)) - taken
    assert free == sorted(free)


def test_this_machine_caps_what_config_yaml_asks_for() -> None:
    scaling = capped(Scaling(min_replica_count=6, max_replica_count=20), 4)
    assert (scaling.min_replica_count, scaling.max_replica_count) == (4, 4)
    assert capped(Scaling(max_replica_count=2), 4).max_replica_count == 2


def test_delays_come_in_the_order_of_a_start() -> None:
    assert list(StartDelays(node=40, image=20, model=9).phases()) == [(Phase.NODE, 40), (Phase.IMAGE, 20)]


def test_each_runtime_has_its_numbered_pairs_of_neighbouring_ports() -> None:
    config, options = load_config(Path("config.yaml")), Options(Path("config.yaml"), Path("up.json"), replicas=3)
    place, ports = topology(config), plan_ports(len(config.runtimes) * 3, 9000)
    urls = {queue.runtime: f"http://127.0.0.1:9002/{queue.name}" for queue in place.queues}
    pairs = plan.pairs(
        config,
        options,
        plan.runtimes(config, options, ports, {}),
        plan.agents(config, place, options, ports, {}, endpoint="http://x", queue_urls=urls, dead_letter_urls=urls),
    )
    assert list(pairs) == [runtime.name for runtime in config.runtimes]
    assert [list(of_one) for of_one in pairs.values()] == [[1, 2, 3]] * 3
    for name, of_one in pairs.items():
        for number, pair in of_one.items():
            assert (pair.runtime.name, pair.agent.name) == (f"{name}-{number}", f"{name}-{number}-agent")
            assert pair.agent.environment["API_BASE_URL"] == pair.runtime.url

"""Which process listens where."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.harness.ports import Ports, PortsError, plan_ports, refuse_ports_in_use


def all_of(ports: Ports) -> list[int]:
    return [
        ports.api,
        ports.sink,
        ports.localstack,
        *(port for worker in ports.workers for port in (worker.runtime, worker.agent)),
        ports.webhooks,
    ]


def test_without_a_base_the_usual_ports_are_taken() -> None:
    ports = plan_ports(3)
    assert (ports.api, ports.sink, ports.webhooks, ports.localstack) == (8000, 8001, 8002, 4566)
    assert [(worker.runtime, worker.agent) for worker in ports.workers] == [(8010, 8011), (8012, 8013), (8014, 8015)]


@given(workers=st.integers(0, 200), base=st.integers(1, 60_000))
def test_with_a_base_all_ports_count_from_it_without_gaps(workers: int, base: int) -> None:
    assert all_of(plan_ports(workers, base)) == list(range(base, base + 4 + 2 * workers))


@given(workers=st.integers(0, 40_000), base=st.none() | st.integers(-5, 70_000))
def test_ports_are_valid_and_differ_or_the_plan_is_refused(workers: int, base: int | None) -> None:
    last = 8009 + 2 * workers if base is None else base + 3 + 2 * workers
    fits = (base is None or base >= 1) and last <= 65535
    if fits:
        ports = all_of(plan_ports(workers, base))
        assert all(0 < port < 65536 for port in ports)
        assert len(set(ports)) == len(ports)
    else:
        with pytest.raises(PortsError, match="--port-base"):
            plan_ports(workers, base)


def test_a_port_in_use_is_named_with_who_wants_it_and_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortsError) as caught:
            refuse_ports_in_use({"api": port})
    assert f"port {port} (for api) is in use" in str(caught.value)
    assert "--port-base" in str(caught.value)
    refuse_ports_in_use({"api": port})

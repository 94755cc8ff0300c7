"""Replicas while the queue cannot be read: KEDA's fallback, beside what `contract/scaling` foretells of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest

from contract.scaling.autoscaler import Autoscaler
from contract.scaling.settings import Fallback, Scaling
from tests.cluster.compare import PERIOD
from tests.cluster.gate import Gate
from tests.cluster.running import Running, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

RUNTIMES: Final = {"sdruntime": 0, "comfyruntime": 1}
"""With their least replicas."""
FALLBACK: Final = 3
THRESHOLD: Final = 3
SHUT_SECONDS: Final = 75.0


@pytest.fixture
def gate(cluster: Running) -> Iterator[Gate]:
    """The releases reach the emulator through a gate."""
    gate = Gate(urlsplit(cluster.state.endpoint).port or 0)
    scaling = "runtime.scaling"
    for runtime, least in RUNTIMES.items():
        cluster.upgrade(
            f"global.awsEndpoint=http://127.0.0.1:{gate.port}",
            *(f"{scaling}.fallback.replicas={FALLBACK}", f"{scaling}.fallback.failureThreshold={THRESHOLD}"),
            *(f"{scaling}.minReplicaCount={least}", f"{scaling}.cooldownPeriod=10"),
            release=runtime,
        )
    yield gate
    for runtime in RUNTIMES:
        cluster.upgrade(
            f"global.awsEndpoint={cluster.state.endpoint}",
            *(f"{scaling}.fallback.replicas=0", f"{scaling}.minReplicaCount=0", f"{scaling}.cooldownPeriod=60"),
            release=runtime,
        )
    gate.close()


def replicas(cluster: Running) -> dict[str, int]:
    found = cluster.get("deployments", "--namespace=images")["items"]
    return {
        item["metadata"]["name"]: item["spec"]["replicas"] for item in found if item["metadata"]["name"] in RUNTIMES
    }


def test_a_queue_that_refuses_brings_the_replicas_that_the_rules_foretell(cluster: Running, gate: Gate) -> None:
    until("the least replicas", lambda: replicas(cluster) == RUNTIMES, 360)
    until("looks that succeed", lambda: set(failed(cluster).values()) == {0}, 60)
    seen: list[tuple[float, dict[str, int]]] = []
    failures = []
    with gate.shut():
        began = time.monotonic()
        while (at := time.monotonic() - began) < SHUT_SECONDS:
            seen.append((at, replicas(cluster)))
            failures.append((round(at), failed(cluster)))
            time.sleep(max(0.0, at + 1 - (time.monotonic() - began)))
    for runtime, least in RUNTIMES.items():
        rules = Autoscaler(
            Scaling(min_replica_count=least, fallback=Fallback(replicas=FALLBACK, failure_threshold=THRESHOLD))
        )
        rules.wanted = least
        real = changes([(at, each[runtime]) for at, each in seen])
        foretold = changes([(at, rules.decide(at, None)) for at, _ in seen])
        says = f"{runtime}: real {real}, foretold {foretold}, failures counted {failures}"
        assert [number for _, number in real] == [number for _, number in foretold], says
        assert real[-1][1] == FALLBACK, says
        # Which failures KEDA loses, and when the HPA looks, is chance: seen up to 37 s later on a busy machine.
        for (there, _), (here, _) in zip(real, foretold, strict=True):
            assert -PERIOD <= there - here <= 3 * PERIOD, says
        print(says)
    until("none again", lambda: replicas(cluster)["sdruntime"] == 0, 60)


def failed(cluster: Running) -> dict[str, int]:
    """Returns how many looks in a row have failed, as KEDA counts them; -1 before its first."""
    found = cluster.get("scaledobjects.keda.sh", "--namespace=images")["items"]
    health = {item["metadata"]["name"]: list(item["status"].get("health", {}).values()) for item in found}
    return {name: health[name][0].get("numberOfFailures", -1) if health[name] else -1 for name in RUNTIMES}


def changes(course: list[tuple[float, int]]) -> list[tuple[int, int]]:
    """Returns the second of each change, with what there was from then on."""
    before = [None, *(number for _, number in course[:-1])]
    return [(round(at), number) for (at, number), last in zip(course, before, strict=True) if number != last]

"""What may happen to a cluster while tasks are under way: none is lost, none contradicts itself."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.cluster.running import NODES, SECONDS_PER_TASK, Running, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def through(cluster: Running, name: str, count: int, change: Callable[[], None], within: float = 300) -> list[str]:
    """Sends tasks, changes something once some have ended and others are under way; waits for all."""
    ids = cluster.submit(name, count)
    until("the first callback", lambda: cluster.ended(ids), 120)
    change()
    until("all callbacks", lambda: len(cluster.ended(ids)) == count, within)
    time.sleep(3)
    found = cluster.ended(ids)  # says so when there are two that differ
    assert all(each["result"] for each in found.values())
    return ids


@pytest.fixture
def process(cluster: Running) -> Iterator[Callable[[str], psutil.Process]]:
    """Finds one of the cluster's processes by its first words."""
    stopped: list[psutil.Process] = []

    def find(word: str) -> psutil.Process:
        [found] = [
            each
            for each in psutil.Process(cluster.state.pid).children(recursive=True)
            if word in " ".join(each.cmdline()[:2])
        ]
        stopped.append(found)
        return found

    yield find
    for each in stopped:
        with contextlib.suppress(psutil.Error):
            each.send_signal(signal.SIGCONT)


def test_a_rolling_update_under_load_repeats_no_run(cluster: Running) -> None:
    def restart() -> None:
        cluster.kubectl("rollout", "restart", "deployment/sdruntime", "--namespace=images")

    ids = through(cluster, "rolling", 30, restart)
    assert [cluster.attempts(task) for task in ids] == [1] * len(ids)


def test_an_upgrade_with_tasks_in_the_queue_loses_none(cluster: Running) -> None:
    ids = through(cluster, "upgrade", 30, lambda: cluster.upgrade("runtime.queueAgent.logLevel=debug"))
    assert [cluster.attempts(task) for task in ids] == [1] * len(ids)


def test_a_canary_takes_its_share_and_goes_again(cluster: Running) -> None:
    def begin() -> None:
        cluster.upgrade("runtime.canary.percent=50", "runtime.canary.inferenceApi.image.tag=next")
        until("a pod of the canary", lambda: tracks(cluster).get("canary"), 90)

    through(cluster, "canary", 60, begin)
    release = "--selector=app.kubernetes.io/instance=sdruntime"
    scaled = cluster.get("scaledobjects.keda.sh", "--namespace=images", release)["items"]
    assert len(scaled) == 2
    ids = cluster.submit("rollback", 20)
    cluster.upgrade("runtime.canary.percent=0")
    until("all callbacks", lambda: len(cluster.ended(ids)) == len(ids), 240)
    until("no pod of the canary", lambda: "canary" not in tracks(cluster), 60)


def tracks(cluster: Running) -> dict[str, int]:
    """Returns how many pods there are of each track."""
    found: dict[str, int] = {}
    for pod in cluster.pods():
        track = pod["metadata"]["labels"]["darkroom/track"]
        found[track] = found.get(track, 0) + 1
    return found


def test_a_drained_node_lets_its_task_end(cluster: Running) -> None:
    def drain() -> None:
        name = cluster.pods()[0]["spec"]["nodeName"]
        cluster.kubectl("drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        drained.append(name)

    drained: list[str] = []
    ids = through(cluster, "drain", 20, drain)
    cluster.kubectl("uncordon", drained[0])
    assert [cluster.attempts(task) for task in ids] == [1] * len(ids)


def test_a_pod_that_is_killed_leaves_its_task_to_another(cluster: Running) -> None:
    def kill() -> None:
        name = cluster.pods()[0]["metadata"]["name"]
        cluster.kubectl("delete", "pod", name, "--namespace=images", "--grace-period=0", "--force")

    through(cluster, "killed", 20, kill)


def test_keda_that_dies_comes_back_and_goes_on(cluster: Running, process: Callable[[str], psutil.Process]) -> None:
    through(cluster, "keda", 20, lambda: process("keda-operator").kill())
    until("no pod", lambda: cluster.replicas() == 0, 300)


def test_an_api_server_that_is_away_for_a_minute_holds_up_no_task(
    cluster: Running, process: Callable[[str], psutil.Process]
) -> None:
    def freeze() -> None:
        server = process("kube-apiserver")
        server.suspend()
        time.sleep(60)
        server.resume()

    ids = through(cluster, "away", 30, freeze)
    until("nodes that are ready", lambda: _ready_nodes(cluster) == NODES, 120)
    assert [cluster.attempts(task) for task in ids] == [1] * len(ids)


def _ready_nodes(cluster: Running) -> int:
    nodes = cluster.get("nodes")["items"]
    return sum(
        any((each["type"], each["status"]) == ("Ready", "True") for each in item["status"]["conditions"])
        for item in nodes
    )


def test_pods_that_go_while_their_tasks_run_let_them_end(cluster: Running) -> None:
    """Without `scaleOnInFlight` the scaler does not see what agents hold."""
    cluster.upgrade("runtime.scaling.scaleOnInFlight=false", "runtime.scaling.cooldownPeriod=1")
    try:
        ids = through(cluster, "in-flight", 6, lambda: None)
        until("no pod", lambda: cluster.replicas() == 0, 400)
        assert [cluster.attempts(task) for task in ids] == [1] * len(ids)
    finally:
        cluster.upgrade("runtime.scaling.scaleOnInFlight=true", "runtime.scaling.cooldownPeriod=60")


def test_a_recycled_runtime_costs_an_idle_gpu_15_seconds_at_most(cluster: Running) -> None:
    """One pod, a new runtime after each task: what lies between two tasks, less the run and the runtime's own start."""
    cluster.upgrade("runtime.queueAgent.recycle.afterTasks=1", "runtime.scaling.maxReplicaCount=1")
    try:
        ids = cluster.submit("recycle", 4)
        ended: dict[str, float] = {}

        def all_ended() -> bool:
            for task in cluster.ended(ids):
                ended.setdefault(task, time.monotonic())
            return len(ended) == len(ids)

        until("all callbacks", all_ended, 240)
        at = sorted(ended.values())
        between = [later - earlier for earlier, later in itertools.pairwise(at)]
        [pod] = cluster.pods()
        [runtime] = pod["status"]["initContainerStatuses"]
        assert runtime["restartCount"] >= len(ids) - 1
        # 4 s of a run, 5 s for the fake's own start; a busy machine only adds to that.
        assert min(between) <= SECONDS_PER_TASK + 5 + 15, between
        assert [cluster.attempts(task) for task in ids] == [1] * len(ids)
    finally:
        cluster.upgrade("runtime.queueAgent.recycle.afterTasks=0", "runtime.scaling.maxReplicaCount=20")

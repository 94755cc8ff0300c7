"""KEDA, the HPA's controller, scheduler and ReplicaSet controller as they are: from no pod to some, and back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.cluster.running import NODES, ROOT, Running, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

BURST = {
    "shape": {"kind": "steady", "rate": 5, "duration": 60},
    "mix": [{"runtime": "sdruntime", "tasktype": "text-to-image", "width": 64, "height": 64}],
    "drain": 420,
    "checks": {
        "no_task_lost": True,
        "no_contradiction": True,
        "no_task_failed": True,
        "scaling": {
            "runtime": "sdruntime",
            "scale_out_within": 10,
            "never_above_max": True,
            "back_to_min_within": 60,
            "no_busy_replica_removed": True,
        },
    },
}


def empty(cluster: Running) -> bool:
    return cluster.replicas() == 0 and not cluster.pods()


def test_keda_reads_the_queue_by_localstacks_own_url(cluster: Running) -> None:
    scaled = cluster.get("scaledobjects.keda.sh", "sdruntime", "--namespace=images")
    conditions = {item["type"]: item["status"] for item in scaled["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    deployment = cluster.get("deployment", "sdruntime", "--namespace=images")
    told = {item["name"]: item.get("value") for item in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    # Emulators write other URLs than AWS; the agent keeps the emulator's own.
    assert told["SQS_QUEUE_URL"].endswith("/darkroom-sdruntime")
    assert scaled["spec"]["triggers"][0]["metadata"]["queueURL"].endswith("/000000000000/darkroom-sdruntime")


def test_a_runtime_without_tasks_goes_to_no_pod(cluster: Running) -> None:
    until("no pod", lambda: empty(cluster), 120)


def test_a_task_wakes_one_pod_and_the_pod_goes_again(cluster: Running) -> None:
    until("no pod", lambda: empty(cluster), 180)
    ids = cluster.submit("single")
    until("one pod", lambda: len(cluster.pods()) == 1, 30)
    until("the callback", lambda: cluster.ended(ids), 60)
    [pod] = cluster.pods()
    # What the agent has told the API server, by its own token, under an authority of EKS's shape.
    assert "controller.kubernetes.io/pod-deletion-cost" in pod["metadata"]["annotations"]
    until("no pod", lambda: empty(cluster), 180)


def test_300_tasks_are_judged_by_the_load_test_from_no_pod_to_none(cluster: Running, tmp_path: Path) -> None:
    until("no pod", lambda: empty(cluster), 180)
    shape = tmp_path / "burst.yaml"
    shape.write_text(yaml.safe_dump(BURST))
    command = [sys.executable, "-m", "loadtest", "--target", "kubernetes", "--shape", str(shape)]
    command += ["--out", str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    figures = report["figures"]
    assert figures["counts"]["accepted"] >= 250
    assert figures["gpu_idle"] is not None, "the busy seconds of no GPU were seen"
    assert figures["starts"][-1]["step"] == "pending → serving"
    assert NODES >= figures["peak_replicas"] >= 3


def test_one_task_soon_after_a_burst_wakes_one_pod_and_no_more(cluster: Running) -> None:
    """Without a `behavior` of its own the HPA would bring back as many pods as the burst had."""
    until("no pod", lambda: empty(cluster), 240)
    burst = cluster.submit("burst", 40)
    until("all callbacks", lambda: len(cluster.ended(burst)) == len(burst), 240)
    until("no pod", lambda: empty(cluster), 500)
    one = cluster.submit("after")
    seen = set()
    began = time.monotonic()
    while time.monotonic() < began + 45:
        seen.add(cluster.replicas())
        time.sleep(1)
    assert max(seen) == 1
    assert len(cluster.ended(one)) == 1

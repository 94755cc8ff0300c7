"""`up --autoscale`: a burst makes replicas come and go, nothing is lost, and the planner foretells both."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.config import load_config
from contract.scaling.settings import scaling_by_runtime
from loadtest.planner.arrivals import Recorded
from loadtest.planner.model import Nodes, Run, Work
from loadtest.planner.simulation import Outcome, simulate
from local.folders import state_folder
from local.harness.replicas import Phase
from local.harness.state import Replicas, State, read_state
from tests.support.processes import Process
from tests.support.waiting import eventually, free_range

pytestmark = pytest.mark.timeout(420)

RUNTIME = "sdruntime"
TASKS = 50
SECONDS = 0.7
"""Of each task."""
NODE_SECONDS = 2.0
SYNC_SECONDS = 1.0
LEAD = 30.0
"""Seconds before the burst in the simulation, so that the first replica is ready there too."""

CONFIG = f"""
stackName: autoscale
modelBucketArn: arn:aws:s3:::autoscale-models
APIGW: {{throttle: {{rateLimit: 1000, burstLimit: 1000}}}}
modelsRuntime:
- name: {RUNTIME}
  type: sdwebui
  modelFilename: v1-5-pruned-emaonly.safetensors
  extraValues:
    runtime:
      scaling:
        queueLength: 5
        minReplicaCount: 1
        maxReplicaCount: 3
        extraHPAConfig: {{scaleDown: {{stabilizationWindowSeconds: 6}}}}
"""


@dataclass
class Burst:
    """What a burst of tasks did to a stack."""

    began: float = 0.0
    """Unix time."""
    seen: list[tuple[float, Replicas]] = field(default_factory=list)
    """The state file over time, seconds from the beginning."""
    tasks: list[dict[str, Any]] = field(default_factory=list)
    callbacks: list[dict[str, Any]] = field(default_factory=list)
    log: str = ""

    def wanted(self, at: float) -> int:
        return [replicas for moment, replicas in self.seen if moment <= at][-1].wanted

    def ready(self, at: float) -> int:
        return ready([replicas for moment, replicas in self.seen if moment <= at][-1])

    @property
    def latencies(self) -> list[float]:
        return sorted(
            (datetime.fromisoformat(task["finished_at"]) - datetime.fromisoformat(task["submitted_at"])).total_seconds()
            for task in self.tasks
        )


def ready(replicas: Replicas) -> int:
    return sum(pair.phase is Phase.READY for pair in replicas.pairs)


def submit(http: httpx.Client, api: str, number: int) -> None:
    request = {
        "metadata": {"id": f"burst-{number}", "runtime": RUNTIME, "tasktype": "text-to-image", "prefix": "output"},
        "content": {"prompt": "A dog", "steps": 1, "width": 64, "height": 64},
    }
    answer = http.post(f"{api}/v1alpha2", json={"task": request})
    assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def burst(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Burst]:
    folder = tmp_path_factory.mktemp("autoscale")
    (folder / "config.yaml").write_text(CONFIG)
    arguments = ["up", "--autoscale", "--replicas", "4", "--port-base", str(free_range(11))]
    arguments += ["--config", str(folder / "config.yaml"), "--state", str(folder / "up.json")]
    arguments += ["--seconds-per-task", str(SECONDS), "--node-seconds", str(NODE_SECONDS)]
    arguments += ["--sync-seconds", str(SYNC_SECONDS)]
    process = Process(
        "up", "local", folder=folder, environment={"DARKROOM_HOME": str(state_folder())}, arguments=arguments
    )
    seen = Burst()
    http = httpx.Client(timeout=60)  # each one of its own would load all certificates anew, for 0.06 s of a processor

    def get(url: str) -> Any:
        return http.get(url).json()

    def state() -> State:
        found = read_state(folder / "up.json")
        assert found is not None, process.tail()
        return found

    def look() -> Replicas:
        replicas = state().replicas[RUNTIME]
        seen.seen.append((time.time() - seen.began, replicas))
        return replicas

    def over() -> bool:
        replicas = look()
        return replicas.wanted == 1 == len(replicas.pairs) and len(get(f"{state().sink}/callbacks")) >= TASKS

    try:
        eventually(lambda: ready(state().replicas[RUNTIME]) == 1, within=150, every=0.2)
        seen.began = time.time()
        look()
        with ThreadPoolExecutor(6) as pool:
            submitted = [pool.submit(submit, http, state().api, number) for number in range(TASKS)]
            eventually(over, within=200, every=0.25)
            assert all(item.result() is None for item in submitted)
        seen.tasks = [get(f"{state().api}/v1/tasks/burst-{number}") for number in range(TASKS)]
        seen.callbacks = get(f"{state().sink}/callbacks")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait_ended(within=60)[0] == 0
        seen.log = process.text()
        yield seen
    finally:
        http.close()
        process.stop()


def test_nothing_is_lost_and_nothing_runs_twice(burst: Burst) -> None:
    assert sorted(callback["id"] for callback in burst.callbacks) == sorted(f"burst-{n}" for n in range(TASKS))
    assert all(callback["result"] is True for callback in burst.callbacks)
    assert {(task["status"], task["attempts"]) for task in burst.tasks} == {("succeeded", 1)}


def test_replicas_follow_the_queue_up_to_the_maximum_and_back_to_the_minimum(burst: Burst) -> None:
    wanted = [replicas.wanted for _, replicas in burst.seen]
    assert (wanted[0], max(wanted), wanted[-1]) == (1, 3, 1)
    assert max(ready(replicas) for _, replicas in burst.seen) == 3
    phases = {pair.phase for _, replicas in burst.seen for pair in replicas.pairs}
    assert {Phase.NODE, Phase.READY} <= phases
    # An idle pair drains in less time than passes between two looks: the log has it for certain.
    assert len({line.split(" has ended")[0] for line in burst.log.splitlines() if " has ended; " in line}) >= 2
    assert all(len(replicas.pairs) <= 3 for _, replicas in burst.seen)


def test_the_decisions_are_told_in_the_log(burst: Burst) -> None:
    decisions = [line for line in burst.log.splitlines() if "replicas wanted" in line]
    assert decisions[0].endswith(f"{RUNTIME}: 0 → 1 replicas wanted (0 tasks waiting, 0 in flight)")
    assert any("→ 3 replicas wanted" in line for line in decisions)
    assert any("→ 1 replicas wanted (0 tasks waiting" in line for line in decisions[1:])


def planned(burst: Burst, folder: Path) -> Outcome:
    """Simulates the very arrivals; how long a process and a task take on this machine just now is measured."""
    (folder / "config.yaml").write_text(CONFIG)
    scaling = scaling_by_runtime(load_config(folder / "config.yaml"))[RUNTIME]
    submitted = sorted(datetime.fromisoformat(task["submitted_at"]).timestamp() for task in burst.tasks)
    starts = [
        float(line.split("ready after ")[1].split()[0])
        for line in burst.log.splitlines()
        if f"{RUNTIME}-" in line and "ready after" in line
    ]
    each = statistics.mean(task["timings"]["generation"] for task in burst.tasks)
    nodes = Nodes(
        batch_idle=0,
        node_seconds=NODE_SECONDS,
        image_seconds=0,
        start_seconds=max(0.0, statistics.median(starts[1:]) - NODE_SECONDS),
        model_seconds=0,
        spread=0,
        consolidate_after=0,
        interruptions_per_hour=0,
    )
    arrivals = Recorded(tuple(moment - burst.began + LEAD for moment in submitted))
    return simulate(arrivals, scaling, Run(Work(seconds=each), nodes, sync_period=SYNC_SECONDS))


def test_the_planner_foretells_replicas_and_p95(burst: Burst, tmp_path: Path) -> None:
    """Tolerance: on average half a replica at any time, and p95 from submission to end within a fifth or 2 s."""
    outcome = planned(burst, tmp_path)
    assert outcome.tasks == TASKS
    moments = [number * 0.25 for number in range(1, int(burst.seen[-1][0] * 4))]
    assert len(moments) > 40

    def foretold(at: float) -> Any:
        return [sample for sample in outcome.samples if sample.at <= at + LEAD][-1]

    for real, plan in ((burst.wanted, "replicas"), (burst.ready, "ready")):
        difference = statistics.mean(abs(real(at) - getattr(foretold(at), plan)) for at in moments)
        assert difference <= 0.5, plan
    p95 = burst.latencies[int(0.95 * TASKS)]
    assert outcome.latencies.at(95) == pytest.approx(p95, rel=0.2, abs=2)


def test_delays_without_autoscaling_are_refused(tmp_path: Path) -> None:
    process = Process("up", "local", folder=tmp_path, arguments=["up", "--node-seconds", "40"])
    assert process.wait_ended(within=60)[0] == 2
    assert process.text().strip().endswith("need --autoscale")


def test_a_faulty_scaling_setting_is_told_by_its_path_and_nothing_is_started(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(CONFIG.replace("queueLength: 5", "queueLength: 0"))
    arguments = ["up", "--autoscale", "--config", str(tmp_path / "config.yaml")]
    process = Process("up", "local", folder=tmp_path, arguments=arguments)
    assert process.wait_ended(within=60)[0] == 2
    sentence = "modelsRuntime.0.extraValues.runtime.scaling.queueLength: Input should be greater than 0; found 0"
    assert process.text().strip() == sentence

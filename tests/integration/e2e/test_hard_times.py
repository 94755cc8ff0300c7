"""A full disk, and an event loop that stands still for seconds: nothing is lost, and nothing runs twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from contract.record import Status
from contract.task import RuntimeType
from tests.support.processes import http
from tests.support.stack import Stack, unique, workflow

pytestmark = pytest.mark.usefixtures("together")


STALLING = "tests.support.stalling_agent"


def submit_nodes(stack: Stack, runtime: str, nodes: dict[str, Any]) -> str:
    """Submits a workflow and returns its task's id."""
    task_id = unique("nodes")
    metadata = {"id": task_id, "runtime": runtime, "tasktype": "pipeline", "prefix": "output", "context": {}}
    answer = stack.post("/v1alpha2", {"task": {"metadata": metadata, "content": nodes}})
    assert answer.status_code == 200, answer.text
    return task_id


def test_an_agent_whose_loop_stalls_for_two_seconds_loses_nothing_and_runs_nothing_twice(
    stack: Stack, runtime: str
) -> None:
    # A third of it is longer than a stall: its heartbeats come late, and in time.
    visibility = 8
    pods = [
        stack.start_pod(
            runtime,
            fake=stack.start_fake(seconds_per_task=0.8),
            ready=False,
            program=program,
            VISIBILITY_TIMEOUT=visibility,
        )
        for program in (STALLING, "agent")
    ]
    # One that takes longer than the visibility timeout, whoever gets it; the others run meanwhile.
    accepted = [stack.submit(runtime, prompt="[[fault:hang:seconds=10]]")]
    accepted += [stack.submit(runtime) for _ in range(10)]
    for task_id in accepted:
        submission = stack.wait_ended_once(task_id, Status.SUCCEEDED, within=90, drained=False)
        assert submission.attempts == 1
        assert sum(len(pod.fake.runs(task_id)) for pod in pods) == 1
        assert len(stack.deployment.callbacks.heard(task_id)) == 1
    stack.wait_drained(runtime)
    assert pods[0].fake.jobs(), "the stalling agent had nothing to do"
    assert pods[0].agent.text().count('"stalled"') >= 3


def test_a_cancel_reaches_a_run_whose_agent_stalls(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, ready=False, program=STALLING, VISIBILITY_TIMEOUT=8)
    task_id = stack.submit(runtime, prompt="[[fault:hang]]")
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    assert stack.cancel(task_id).is_success
    assert stack.wait_ended_once(task_id, Status.CANCELLED).attempts == 1
    assert pod.fake.runs(task_id)[0]["outcome"] == "interrupted"


@pytest.mark.parametrize("kind", ["sdwebui", "comfyui"])
def test_an_agent_on_a_full_disk_works_for_it_writes_nothing(
    kind: str, stack: Stack, web: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runtime = stack.spare_runtime(f"full disk {kind}", RuntimeType(kind))
    folder: Path = tmp_path_factory.mktemp("full")
    pod = stack.start_pod(
        runtime,
        fake=stack.start_fake(kind=kind, seconds_per_task=0.8),
        program="tests.support.agent_on_a_full_disk",
        INPUT_ALLOWED_ORIGINS=web,
        TMPDIR=str(folder),
        LOG_LEVEL="debug",
    )
    if kind == "comfyui":
        nodes = workflow(unique("full"))
        nodes["7"] = {"class_type": "LoadImage", "inputs": {"image": f"{web}/picture.png"}}
        nodes["8"] = {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "image"}}
        accepted = submit_nodes(stack, runtime, nodes)
        nodes["1"]["inputs"]["ckpt_name"] = "no such file"
        refused = submit_nodes(stack, runtime, nodes)
    else:
        accepted = stack.submit(runtime, batch_size=4, width=512, height=512)
        refused = stack.submit(runtime, script_name="No Such Script")
    stack.wait_ended_once(accepted, Status.SUCCEEDED, drained=False)
    stack.wait_status(refused, Status.FAILED)
    assert http().get(f"{pod.health}/healthz", timeout=5).status_code == 200
    assert list(folder.iterdir()) == []
    pod.agent.terminate()
    assert pod.agent.wait_ended(60)[0] == 0

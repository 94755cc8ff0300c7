"""A runtime is warmed, restarted between tasks, and never sent a task while it is still at another."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from typing import Any

import pytest
from rich.console import Console

from contract.processes import EXIT_RESTART_RUNTIME
from contract.record import Status
from contract.task import RuntimeType
from local.harness import plan
from local.harness.lines import Printer
from local.harness.restarts import RestartPolicy
from local.harness.supervisor import Supervisor
from tests.support.processes import ROOT, http
from tests.support.stack import Pod, Stack
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.usefixtures("together")

IMPATIENT = "tests.support.impatient_agent"
WARM_UP = json.dumps({"tasktype": "text-to-image", "content": {"prompt": "warm-up", "width": 64, "height": 64}})


def readyz(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = http().get(f"{pod.health}/readyz", timeout=5).json()
    return found


def test_the_local_harness_restarts_runtime_and_agent_and_every_task_ends_once(stack: Stack, runtime: str) -> None:
    asyncio.run(_harness(stack, runtime))


async def _harness(stack: Stack, runtime: str) -> None:
    runtime_port, agent_port = free_port(), free_port()
    environment = plan.base_environment(os.environ) | stack._aws_environment()
    fake = plan.Component(
        "fake",
        plan.Stage.RUNTIME,
        (sys.executable, "-m", "fake_runtime", "--port", str(runtime_port), "--latency", "0"),
        environment,
        runtime_port,
        "/fake/jobs",
    )
    agent = plan.Component(
        "agent",
        plan.Stage.AGENT,
        (sys.executable, "-m", "agent"),
        environment
        | {
            "RUNTIME_NAME": runtime,
            "RUNTIME_TYPE": "sdwebui",
            "API_BASE_URL": f"http://127.0.0.1:{runtime_port}",
            "SQS_QUEUE_URL": stack.deployment.queue_url(runtime),
            "SNS_TOPIC_ARN": stack.deployment.place.callback_topic_arn,
            "S3_BUCKET": stack.deployment.place.output_bucket,
            "HEALTH_PORT": str(agent_port),
            "RECYCLE_BY": "exit",
            "RECYCLE_AFTER_TASKS": "2",
        },
        agent_port,
        "/readyz",
        runtime="fake",
    )
    assert ROOT.samefile(environment["PYTHONPATH"])
    out = io.StringIO()
    async with Supervisor(Printer(Console(file=out, width=400), ["fake", "agent"]), RestartPolicy()) as supervisor:
        for component in (fake, agent):
            await supervisor.start(component)
            await supervisor.wait_until_ready(component.name, within=30)
        supervisor.settle()
        accepted = [await asyncio.to_thread(stack.submit, runtime) for _ in range(5)]
        for task_id in accepted:
            ended = await asyncio.to_thread(stack.wait_ended_once, task_id, Status.SUCCEEDED, within=60, drained=False)
            assert ended.attempts == 1, out.getvalue()
        await asyncio.to_thread(stack.wait_drained, runtime)
    assert out.getvalue().count("agent asks for a new fake") == 2, out.getvalue()


def test_a_runtime_is_warmed_before_its_first_task_and_readiness_tells_the_stages_apart(
    stack: Stack, runtime: str
) -> None:
    task_id = stack.submit(runtime)
    pod = stack.start_pod(runtime, fake=stack.start_fake(seconds_per_task=0.8), ready=False, WARMUP_REQUEST=WARM_UP)
    pod.fake.wait_running("warm-up")
    eventually(lambda: readyz(pod)["state"] == "warming")
    assert http().get(f"{pod.health}/readyz", timeout=5).status_code == 503
    stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert [task_id in job["prompt"] for job in pod.fake.jobs()] == [False, True]
    told = readyz(pod)
    assert told["state"] == "ready"
    assert told["warm_up"]["state"] == "done"
    assert list(told["states"]) == ["starting", "waiting-for-runtime", "warming", "ready", "busy"]
    assert told["states"]["warming"]["seconds"] >= 0.8
    assert told["states"]["busy"] == {**told["states"]["busy"], "times": 1}
    metrics = http().get(f"{pod.health}/metrics", timeout=5).text
    assert 'darkroom_agent_state_seconds_total{state="warming"}' in metrics


def test_a_warm_up_that_never_works_stops_nobody(stack: Stack, runtime: str) -> None:
    wrong = json.dumps({"tasktype": "text-to-image", "content": {"prompt": "x", "script_name": "No Such Script"}})
    pod = stack.start_pod(runtime, WARMUP_REQUEST=wrong)
    stack.wait_ended_once(stack.submit(runtime), Status.SUCCEEDED)
    told = readyz(pod)
    assert (told["state"], told["warm_up"]["state"]) == ("ready", "failed")
    assert "No Such Script" in told["reason"]


def test_the_agent_asks_for_a_new_runtime_by_its_exit_status_and_loses_no_task(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(
        runtime, fake=stack.start_fake(seconds_per_task=0.2), RECYCLE_BY="exit", RECYCLE_AFTER_TASKS=2, PREFETCH=2
    )
    accepted = [stack.submit(runtime) for _ in range(5)]
    assert pod.agent.wait_ended(60)[0] == EXIT_RESTART_RUNTIME
    assert len(pod.fake.jobs()) == 2
    other = stack.start_pod(runtime)
    for task_id in accepted:
        assert stack.wait_ended_once(task_id, Status.SUCCEEDED, drained=False).attempts == 1
    stack.wait_drained(runtime)
    assert len(other.fake.jobs()) == 3


def test_a_runtime_that_takes_too_much_memory_is_restarted_after_its_task(stack: Stack, runtime: str) -> None:
    # Any process of Python takes more. The agent looks at it every five seconds, and must still be at the task then.
    pod = stack.start_pod(
        runtime, fake=stack.start_fake(seconds_per_task=9), RECYCLE_BY="exit", RECYCLE_ABOVE_RSS_BYTES=1_000_000
    )
    task_id = stack.submit(runtime)
    eventually(lambda: readyz(pod).get("runtime_resident_bytes", 0) > 1_000_000, within=60)
    assert pod.agent.wait_ended(60)[0] == EXIT_RESTART_RUNTIME
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).attempts == 1
    assert len(pod.fake.runs(task_id)) == 1


def test_a_liveness_probe_of_the_runtime_sees_that_its_restart_is_wanted(
    stack: Stack, runtime: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    port, mark = free_port(), tmp_path_factory.mktemp("shared") / "restart"
    pod = stack.start_pod(
        runtime,
        fake=stack.start_fake(port=port),
        RECYCLE_BY="probe",
        RECYCLE_FILE=str(mark),
        RECYCLE_AFTER_TASKS=1,
    )

    def probe() -> int:
        return http().get(f"{pod.health}/runtimez", timeout=5).status_code

    assert probe() == 200
    first = stack.submit(runtime)
    eventually(lambda: probe() == 503 and mark.exists())
    second = stack.submit(runtime)
    # What the kubelet does with a container whose liveness probe fails.
    pod.fake.process.kill()
    # No real runtime is back within the quarter of a second between two looks of the agent; a fake one may be.
    eventually(lambda: probe() == 200 and not mark.exists())
    stack.start_fake(port=port)
    for task_id in (first, second):
        assert stack.wait_ended_once(task_id, Status.SUCCEEDED, drained=False).attempts == 1
    assert pod.agent.is_alive()


def test_a_runtime_that_ignores_the_interrupt_is_not_sent_the_next_task(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, program=IMPATIENT, TASK_TIMEOUT_SECONDS=1)
    stuck = stack.submit(runtime, prompt="[[fault:interrupt-ignored]] [[fault:hang:seconds=10]]")
    waiting = stack.submit(runtime)
    told = eventually(lambda: (body := readyz(pod))["state"] == "waiting-for-runtime" and body)
    assert isinstance(told, dict)
    assert told["reason"] == "it does not end an interrupted run"
    found = stack.wait_ended_once(stuck, Status.FAILED, drained=False)
    assert found.error is not None
    assert found.error.code == "timed_out"
    # Sent at once, it would wait behind the other, and its own time would be over before it began.
    assert stack.wait_ended_once(waiting, Status.SUCCEEDED).attempts == 1
    first, second = pod.fake.jobs()
    assert second["started"] >= first["finished"]


@pytest.mark.parametrize("kind", ["sdwebui", "comfyui"])
def test_a_runtime_that_never_lets_go_is_to_be_restarted(kind: str, stack: Stack) -> None:
    runtime = stack.spare_runtime(f"stuck {kind}", RuntimeType(kind))
    pod = stack.start_pod(
        runtime,
        program=IMPATIENT,
        TASK_TIMEOUT_SECONDS=1,
        RECYCLE_BY="exit",
        RECYCLE_STUCK_AFTER_SECONDS=2,
    )
    fault = "[[fault:interrupt-ignored]] [[fault:hang]]"
    stuck = stack.submit_workflow(runtime, text=fault) if kind == "comfyui" else stack.submit(runtime, prompt=fault)
    pod.fake.wait_running(stuck)
    waiting = stack.submit_workflow(runtime) if kind == "comfyui" else stack.submit(runtime)
    assert pod.agent.wait_ended(60)[0] == EXIT_RESTART_RUNTIME
    assert stack.wait_ended_once(stuck, Status.FAILED, drained=False).dead_lettered is False
    assert pod.fake.runs(waiting) == []
    pod.fake.process.kill()
    stack.start_pod(runtime)
    assert stack.wait_ended_once(waiting, Status.SUCCEEDED).attempts == 1

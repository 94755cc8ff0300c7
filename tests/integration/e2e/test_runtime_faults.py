"""A runtime that fails: its absence is waited for, what may pass is tried again, what cannot is told at once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from contract.record import Status
from contract.topology import MAX_ATTEMPTS
from tests.support.stack import Pod, Stack, unique
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.usefixtures("together")


@dataclass(frozen=True)
class Faulty:
    """A request that its runtime does not simply answer, and what becomes of it."""

    prompt: str = ""
    content: dict[str, object] | None = None
    order: dict[str, object] | None = None
    """A fault for this task's prompt alone."""
    status: Status = Status.FAILED
    attempts: int = 1
    dead_lettered: bool = False
    says: str = ""
    """Stands in the error's message, in whatever case."""


FAULTS = {
    "always an error, as text": Faulty(
        prompt="[[fault:error:status=500,body=text]]", attempts=MAX_ATTEMPTS, dead_lettered=True, says="500"
    ),
    "always an error, as JSON": Faulty(
        prompt="[[fault:error:status=503]]", attempts=MAX_ATTEMPTS, dead_lettered=True, says="503"
    ),
    "an error once": Faulty(order={"name": "error", "count": 1}, status=Status.SUCCEEDED, attempts=2),
    "out of memory always": Faulty(
        prompt="[[fault:out-of-memory]]", attempts=MAX_ATTEMPTS, dead_lettered=True, says="memory"
    ),
    "garbage once": Faulty(order={"name": "garbage", "count": 1}, status=Status.SUCCEEDED, attempts=2),
    "a script that it does not know": Faulty(content={"script_name": "No Such Script"}, says="script"),
    "a field of a wrong type": Faulty(content={"steps": "many"}, says="steps"),
}


@pytest.fixture(scope="module")
def faulty_pod(stack: Stack) -> Pod:
    """One pod that has all these tasks at once."""
    return stack.start_pod(stack.spare_runtime("faulty"))


@pytest.mark.parametrize("name", FAULTS)
def test_a_runtime_that_answers_with(name: str, stack: Stack, faulty_pod: Pod) -> None:
    fault, task_id = FAULTS[name], unique("faulty")
    if fault.order is not None:
        faulty_pod.fake.order(**fault.order, match=task_id)  # type: ignore[arg-type]
    stack.submit(faulty_pod.runtime, task_id=task_id, prompt=fault.prompt, **(fault.content or {}))
    stack.deployment.callbacks.wait_for(task_id, within=40)
    found = stack.wait_status(task_id, fault.status)
    stack.assert_agrees(task_id, found, stack.deployment.callbacks.heard(task_id))
    assert found.blamed == fault.attempts, found
    assert found.dead_lettered is fault.dead_lettered
    if fault.status is Status.FAILED:
        assert found.error is not None
        assert fault.says in found.error.message.lower(), found.error
        assert "Traceback" not in found.error.message
        listed = stack.get(f"/v1/tasks?status=failed&runtime={faulty_pod.runtime}").json()["tasks"]
        assert task_id in {item["id"] for item in listed}
    if fault.dead_lettered:
        letter = eventually(lambda: letter_of(stack, faulty_pod.runtime, task_id))
        assert letter["reason"]
        assert letter["submission"] == found.submission


def letter_of(stack: Stack, runtime: str, task_id: str) -> dict[str, str]:
    """Returns the dead letter of a task, or nothing."""
    return next((letter for letter in stack.dead_letters(runtime) if letter["task_id"] == task_id), {})


def test_a_runtime_that_comes_late_is_waited_for(stack: Stack, runtime: str) -> None:
    port = free_port()
    agent, _ = stack.start_agent(runtime, f"http://127.0.0.1:{port}")
    task_id = stack.submit(runtime)
    fake = stack.start_fake(port=port)
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.blamed == 1
    assert len(fake.jobs()) == 1
    assert agent.is_alive()


def test_a_runtime_that_crashes_in_mid_task_is_waited_for_and_nobody_blamed(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake("exit-in-the-middle"))
    task_id = stack.submit(runtime)
    pod.fake.process.wait_ended(60)
    stack.start_fake(port=int(pod.fake.url.rpartition(":")[2]))
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.blamed == 1, "the runtime's crash was blamed on the task"
    assert submission.excused >= 1
    assert pod.agent.is_alive()


def test_a_runtime_that_vanishes_while_idle_is_waited_for(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    stack.wait_ended_once(stack.submit(runtime), Status.SUCCEEDED)
    pod.fake.process.kill()
    task_id = stack.submit(runtime)
    stack.start_fake(port=int(pod.fake.url.rpartition(":")[2]))
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).blamed == 1


def test_a_runtime_that_hangs_is_interrupted_when_the_tasks_time_is_over(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, TASK_TIMEOUT_SECONDS=1.5)
    task_id = stack.submit(runtime, prompt="[[fault:hang]]")
    submission = stack.wait_ended_once(task_id, Status.FAILED)
    assert submission.error is not None
    assert "1.5" in submission.error.message
    assert_works(stack, pod)


def assert_works(stack: Stack, pod: Pod) -> None:
    task_id = stack.submit(pod.runtime)
    assert stack.deployment.callbacks.wait_for(task_id).body["result"] is True
    assert len(pod.fake.runs(task_id)) == 1


def test_a_runtime_that_dies_at_its_start_and_then_starts_slowly_is_waited_for(stack: Stack, runtime: str) -> None:
    port = free_port()
    dead = stack.start_fake("dead-start", port=port, ready=False)
    agent, _ = stack.start_agent(runtime, dead.url)
    dead.process.wait_ended(60)
    task_id = stack.submit(runtime)
    stack.start_fake("slow-start:seconds=1", port=port, ready=False)
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).blamed == 1
    assert agent.is_alive()


def test_comfyui_that_crashes_in_mid_task_is_waited_for_and_nobody_blamed(stack: Stack, comfy_runtime: str) -> None:
    pod = stack.start_pod(comfy_runtime, fake=stack.start_fake("exit-in-the-middle", kind="comfyui"))
    task_id = stack.submit_workflow(comfy_runtime)
    pod.fake.process.wait_ended(60)
    stack.start_fake(kind="comfyui", port=int(pod.fake.url.rpartition(":")[2]))
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).blamed == 1
    assert pod.agent.is_alive()


def test_comfyui_that_drops_its_websocket_loses_nothing(stack: Stack, comfy_runtime: str) -> None:
    pod = stack.start_pod(comfy_runtime, fake=stack.start_fake("drop-websocket", kind="comfyui", seconds_per_task=1))
    task_id = stack.submit_workflow(comfy_runtime)
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).attempts == 1
    assert len(pod.fake.runs(task_id)) == 1


def test_comfyui_that_hangs_is_interrupted_when_the_tasks_time_is_over(stack: Stack, comfy_runtime: str) -> None:
    pod = stack.start_pod(comfy_runtime, fake=stack.start_fake("hang", kind="comfyui"), TASK_TIMEOUT_SECONDS=1.5)
    hanging, next_one = stack.submit_workflow(comfy_runtime), stack.submit_workflow(comfy_runtime)
    assert stack.deployment.callbacks.wait_for(hanging).body["result"] is False
    assert stack.wait_ended_once(next_one, Status.SUCCEEDED).attempts == 1
    assert pod.fake.runs(hanging)[0]["outcome"] == "interrupted"

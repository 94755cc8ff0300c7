"""A runtime that fails: its absence is waited for, what may pass is tried again, what cannot is told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from contract.record import Status, Submission
from contract.topology import MAX_ATTEMPTS
from tests.support.stack import Pod, Stack, unique
from tests.support.waiting import eventually, free_port

pytestmark = pytest.mark.xdist_group("e2e-runtime-faults")


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
    "a sampler that it does not know": Faulty(content={"sampler_name": "No Such Sampler"}, says="sampler"),
    "a field of a wrong type": Faulty(content={"steps": "many"}, says="steps"),
}


@pytest.fixture(scope="module")
def faulty(stack: Stack) -> dict[str, Submission]:
    """How each of these tasks ended; one pod has them all at once."""
    runtime = stack.spare_runtime()
    pod = stack.start_pod(runtime)
    tasks = {}
    for name, fault in FAULTS.items():
        task_id = tasks[name] = unique("faulty")
        if fault.order is not None:
            pod.fake.order(**fault.order, match=task_id)  # type: ignore[arg-type]
        stack.submit(runtime, task_id=task_id, prompt=fault.prompt, **(fault.content or {}))
    ended = {}
    for name, task_id in tasks.items():
        stack.deployment.callbacks.wait_for(task_id, within=40)
        ended[name] = stack.wait_status(task_id, Status.SUCCEEDED, Status.FAILED)
        stack.assert_agrees(task_id, ended[name], stack.deployment.callbacks.heard(task_id))
    dead = [tasks[name] for name, fault in FAULTS.items() if fault.dead_lettered]
    stack.wait_drained(runtime, dead=len(dead))
    letters = stack.dead_letters(runtime)
    assert sorted(letter["task_id"] for letter in letters) == sorted(dead)
    assert all(letter["reason"] and letter["submission"] for letter in letters)
    return ended


@pytest.mark.parametrize("name", FAULTS)
def test_a_runtime_that_answers_with(name: str, faulty: dict[str, Submission]) -> None:
    wanted, found = FAULTS[name], faulty[name]
    assert found.status is wanted.status, found
    assert found.blamed == wanted.attempts, found
    assert found.dead_lettered is wanted.dead_lettered
    if wanted.status is Status.FAILED:
        assert found.error is not None
        assert wanted.says in found.error.message.lower(), found.error
        assert "Traceback" not in found.error.message


def comes_late(stack: Stack, runtime: str) -> None:
    port = free_port()
    agent, _ = stack.start_agent(runtime, f"http://127.0.0.1:{port}")
    task_id = stack.submit(runtime)
    fake = stack.start_fake(port=port)
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.blamed == 1
    assert len(fake.jobs()) == 1
    assert agent.is_alive()


def crashes_and_is_back(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake("exit-in-the-middle"))
    task_id = stack.submit(runtime)
    pod.fake.process.wait_ended(20)
    stack.start_fake(port=int(pod.fake.url.rpartition(":")[2]))
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.blamed == 1, "the runtime's crash was blamed on the task"
    assert submission.excused >= 1
    assert pod.agent.is_alive()


def is_killed_while_idle_and_back(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    stack.wait_ended_once(stack.submit(runtime), Status.SUCCEEDED)
    pod.fake.process.kill()
    task_id = stack.submit(runtime)
    stack.start_fake(port=int(pod.fake.url.rpartition(":")[2]))
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).blamed == 1


def hangs(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, TASK_TIMEOUT_SECONDS=1.5)
    task_id = stack.submit(runtime, prompt="[[fault:hang]]")
    stack.deployment.callbacks.wait_for(task_id, within=40)
    submission = stack.wait_ended_once(task_id, Status.FAILED)
    assert submission.error is not None
    assert "1.5" in submission.error.message
    assert_works(stack, pod)


def assert_works(stack: Stack, pod: Pod) -> None:
    task_id = stack.submit(pod.runtime)
    assert stack.deployment.callbacks.wait_for(task_id).body["result"] is True
    assert len(pod.fake.runs(task_id)) == 1


def starts_dead(stack: Stack, runtime: str) -> None:
    port = free_port()
    dead = stack.start_fake("dead-start", port=port, ready=False)
    agent, _ = stack.start_agent(runtime, dead.url)
    dead.process.wait_ended(20)
    task_id = stack.submit(runtime)
    stack.start_fake("slow-start:seconds=1", port=port, ready=False)
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).blamed == 1
    assert agent.is_alive()


LIVES: dict[str, Callable[[Stack, str], None]] = {
    "comes late": comes_late,
    "starts dead, then slowly": starts_dead,
    "crashes in mid-task and is back": crashes_and_is_back,
    "is killed while idle and back": is_killed_while_idle_and_back,
    "hangs until the task's time is over": hangs,
}


@pytest.fixture(scope="module")
def lives(stack: Stack) -> Iterator[dict[str, Future[None]]]:
    """Each life of a runtime; they are lived at the same time, since they are mostly waiting."""
    with ThreadPoolExecutor(len(LIVES)) as pool:
        yield {name: pool.submit(live, stack, stack.spare_runtime()) for name, live in LIVES.items()}


@pytest.mark.parametrize("name", LIVES)
def test_a_runtime_that(name: str, lives: dict[str, Future[None]]) -> None:
    lives[name].result(90)


def test_comfyui_that_crashes_in_mid_task_and_is_back(stack: Stack) -> None:
    fake = stack.start_fake("exit-in-the-middle", kind="comfyui")
    pod = stack.start_pod("comfyruntime", fake=fake)
    task_id = unique("workflow")
    workflow = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": task_id}},
    }
    metadata = {"id": task_id, "runtime": "comfyruntime", "tasktype": "pipeline", "prefix": "output", "context": None}
    answer = stack.post("/v1alpha2", {"task": {"metadata": metadata, "content": workflow}})
    assert answer.status_code == 200, answer.text
    fake.process.wait_ended(20)
    stack.start_fake(kind="comfyui", port=int(fake.url.rpartition(":")[2]))
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.blamed == 1
    eventually(pod.agent.is_alive)

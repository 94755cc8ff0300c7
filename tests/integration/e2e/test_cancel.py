"""Cancelling and expiring: a waiting task never runs, a running one is interrupted, an ended one stays as it is."""

from __future__ import annotations

import pytest

from contract.record import Status
from tests.support.stack import SHORT_VISIBILITY, Pod, Stack, task, unique
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("together")


def assert_cancelled(stack: Stack, task_id: str) -> None:
    submission = stack.wait_ended_once(task_id, Status.CANCELLED)
    callback = stack.deployment.callbacks.heard(task_id)[0]
    assert callback.body == {
        "id": task_id,
        "result": False,
        "image_url": submission.image_url,
        "output_url": submission.output_url,
        "context": {"test": task_id},
    }


def assert_works(stack: Stack, pod: Pod) -> None:
    task_id = stack.submit(pod.runtime)
    stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert len(pod.fake.runs(task_id)) == 1


def test_a_queued_task_never_runs(stack: Stack, runtime: str) -> None:
    task_id = stack.submit(runtime)
    answer = stack.cancel(task_id)
    assert answer.is_success, answer.text
    # Its callback does not wait for a GPU to come.
    assert stack.deployment.callbacks.wait_for(task_id, within=30).body["result"] is False
    pod = stack.start_pod(runtime)
    assert_cancelled(stack, task_id)
    assert len(stack.deployment.callbacks.heard(task_id)) == 1
    assert pod.fake.runs(task_id) == []
    assert_works(stack, pod)


def test_a_running_task_is_interrupted(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    task_id = stack.submit(runtime, prompt="[[fault:hang]]")
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    answer = stack.cancel(task_id)
    assert answer.is_success, answer.text
    assert stack.deployment.callbacks.wait_for(task_id, within=30).body["result"] is False
    assert_cancelled(stack, task_id)
    assert pod.fake.runs(task_id)[0]["outcome"] == "interrupted"
    assert_works(stack, pod)


def test_a_running_workflow_is_interrupted(stack: Stack, comfy_runtime: str) -> None:
    pod = stack.start_pod(comfy_runtime, fake=stack.start_fake("hang", kind="comfyui"))
    task_id = stack.submit_workflow(comfy_runtime)
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    assert stack.cancel(task_id).status_code == 202
    assert_cancelled(stack, task_id)
    assert pod.fake.runs(task_id)[0]["outcome"] == "interrupted"
    later = stack.submit_workflow(comfy_runtime)
    stack.wait_ended_once(later, Status.SUCCEEDED)


def test_a_task_that_is_fetched_already_but_waits_never_runs_and_the_running_one_is_left_alone(
    stack: Stack, runtime: str
) -> None:
    pod = stack.start_pod(runtime)
    running = stack.submit(runtime, prompt="[[fault:hang:seconds=5]]")
    pod.fake.wait_running(running)
    waiting = stack.submit(runtime)
    eventually(lambda: stack.deployment.queue_counts(stack.deployment.queue_url(runtime)) == (0, 2))
    assert stack.cancel(waiting).is_success
    assert_cancelled(stack, waiting)
    assert stack.wait_ended_once(running, Status.SUCCEEDED).attempts == 1
    assert pod.fake.runs(waiting) == []


def test_a_runtime_that_ignores_the_interrupt_delays_the_end_but_does_not_change_it(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    task_id = stack.submit(runtime, prompt="[[fault:interrupt-ignored]] [[fault:hang:seconds=5]]")
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    assert stack.cancel(task_id).is_success
    assert_cancelled(stack, task_id)
    assert_works(stack, pod)


def test_a_task_whose_agent_died_is_cancelled_by_the_next_one(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake("hang"), VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
    task_id = stack.submit(runtime)
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    pod.agent.kill()
    assert stack.cancel(task_id).is_success
    assert stack.status(task_id) is Status.CANCELLING
    other = stack.start_pod(runtime, ready=False)
    assert_cancelled(stack, task_id)
    assert other.fake.runs(task_id) == []


def test_an_ended_task_answers_409_and_stays_as_it_is(stack: Stack, runtime: str) -> None:
    stack.start_pod(runtime)
    task_id = stack.submit(runtime)
    ended = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    answer = stack.cancel(task_id)
    assert answer.status_code == 409, answer.text
    assert set(answer.json()) == {"error"}
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED) == ended


def test_cancelling_twice_is_cancelling_once(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    task_id = stack.submit(runtime, prompt="[[fault:hang]]")
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    assert stack.cancel(task_id).status_code == 202
    # The agent may have been faster: then the task has ended.
    assert stack.cancel(task_id).status_code in {202, 409}
    assert_cancelled(stack, task_id)


def test_an_unknown_task_answers_404(stack: Stack) -> None:
    assert stack.cancel("never-heard-of").status_code == 404


def submit_by(stack: Stack, runtime: str, start_by: float) -> str:
    made = task(unique("by"), runtime)
    made["metadata"]["start_by"] = start_by
    answer = stack.post("/v1/tasks", {"task": made})
    assert answer.status_code == 202, answer.text
    return str(made["metadata"]["id"])


def assert_expired(stack: Stack, task_id: str, *, drained: bool) -> None:
    submission = stack.wait_ended_once(task_id, Status.EXPIRED, drained=drained)
    attributes = stack.deployment.callbacks.heard(task_id)[0].attributes
    assert (attributes["status"], attributes["error_code"], attributes["result"]) == ("expired", "expired", "false")
    assert submission.attempts == 0
    shown = stack.get(f"/v1/tasks/{task_id}").json()
    assert shown["status"] == "expired"
    assert shown["start_by"] <= shown["finished_at"]


def test_a_task_that_was_to_begin_by_some_time_expires_without_an_agent(stack: Stack, runtime: str) -> None:
    task_id = submit_by(stack, runtime, 1)
    assert stack.deployment.callbacks.wait_for(task_id, within=30).body["result"] is False
    pod = stack.start_pod(runtime)
    assert_expired(stack, task_id, drained=True)
    assert pod.fake.runs(task_id) == []
    listed = stack.get("/v1/tasks?status=expired").json()["tasks"]
    assert task_id in {item["id"] for item in listed}


def test_a_task_that_waits_behind_another_one_expires_and_the_other_goes_on(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    ahead = task(unique("ahead"), runtime, prompt="[[fault:hang]]")
    ahead["metadata"]["start_by"] = 8
    assert stack.post("/v1/tasks", {"task": ahead}).status_code == 202
    pod.fake.wait_running(ahead["metadata"]["id"])
    task_id = submit_by(stack, runtime, 1)
    assert_expired(stack, task_id, drained=False)  # the other one's message is held
    assert pod.fake.runs(task_id) == []
    assert stack.status(ahead["metadata"]["id"]) is Status.RUNNING
    assert stack.cancel(ahead["metadata"]["id"]).is_success
    assert_works(stack, pod)

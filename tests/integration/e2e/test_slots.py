"""With SLOTS=2 the next request waits at the runtime while one runs; each task still ends once, as it should."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.record import Status
from contract.task import RuntimeType
from tests.support.graphs import diffusion
from tests.support.stack import Pod, Stack, task, unique

pytestmark = pytest.mark.usefixtures("together")

SECONDS = 6


def assert_a_waiting_task_is_cancelled_and_the_others_succeed(
    stack: Stack, pod: Pod, submit: Callable[[str], str]
) -> None:
    first = submit(pod.runtime)
    pod.fake.wait_running(first)
    second, third = submit(pod.runtime), submit(pod.runtime)
    # It waits at the runtime; its record says running, since its request has been sent.
    stack.wait_status(second, Status.RUNNING)
    answer = stack.cancel(second)
    assert answer.status_code == 202, answer.text
    stack.wait_ended_once(second, Status.CANCELLED, drained=False)
    assert pod.fake.runs(first)[0]["outcome"] == "running", "the cancel did not wait for the first run"
    for task_id in (first, third):
        assert stack.wait_ended_once(task_id, Status.SUCCEEDED, drained=False).attempts == 1
    stack.wait_drained(pod.runtime)
    assert [job["outcome"] for job in pod.fake.runs(first)] == ["succeeded"]
    assert [job["outcome"] for job in pod.fake.runs(second)] in ([], ["interrupted"])
    assert pod.fake.runs(third)[-1]["outcome"] == "succeeded"


def test_an_image_that_waits_at_sd_web_ui_is_cancelled_and_the_others_are_made(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake(seconds_per_task=SECONDS), SLOTS=2)
    assert_a_waiting_task_is_cancelled_and_the_others_succeed(stack, pod, stack.submit)


def test_a_workflow_that_waits_at_comfyui_is_cancelled_and_the_others_are_made(
    stack: Stack, comfy_runtime: str
) -> None:
    fake = stack.start_fake(kind="comfyui", seconds_per_task=SECONDS)
    pod = stack.start_pod(comfy_runtime, fake=fake, SLOTS=2)
    assert_a_waiting_task_is_cancelled_and_the_others_succeed(stack, pod, stack.submit_workflow)


def test_a_graph_that_waits_at_invokeai_is_cancelled_and_the_others_are_made(stack: Stack) -> None:
    def submit(runtime: str) -> str:
        task_id = unique("graph")
        metadata = task(task_id, runtime, tasktype="pipeline")["metadata"]
        answer = stack.post("/v1alpha2", {"task": {"metadata": metadata, "content": {"graph": diffusion(task_id)}}})
        assert answer.status_code == 200, answer.text
        return task_id

    runtime = stack.spare_runtime("a graph that waits", RuntimeType.INVOKEAI)
    fake = stack.start_fake(kind="invokeai", seconds_per_task=SECONDS)
    assert_a_waiting_task_is_cancelled_and_the_others_succeed(
        stack, stack.start_pod(runtime, fake=fake, SLOTS=2), submit
    )

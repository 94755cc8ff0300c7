"""SIGTERM: an agent ends at once when it is idle, finishes what it may, and hands back what it may not."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable

import pytest

from contract.record import Status
from tests.support.processes import Process, answers
from tests.support.proxy import FaultProxy, Gate
from tests.support.stack import Stack
from tests.support.waiting import eventually, free_port

TRIES = 3
"""Other tests share the processors: a busy moment may pass, slowness does not."""


def assert_ends(start: Callable[[], Process], within: float, *, statuses: Iterable[int] = (0,)) -> None:
    """Starts a process, sends it SIGTERM, and asserts a clean end within so many seconds; `TRIES` times at most."""
    taken = []
    for _ in range(TRIES):
        process = start()
        process.terminate()
        found, seconds = process.wait_ended(60)
        assert found in statuses, process.tail()
        taken.append(seconds)
        if seconds <= within:
            return
    raise AssertionError(f"took {taken} s, and not {within} s")


def test_an_idle_agent_ends_within_a_second_in_the_middle_of_a_long_poll(
    stack: Stack, runtime: str, aws: FaultProxy
) -> None:
    def in_a_long_poll() -> Process:
        before = len(aws.calls)
        pod = stack.start_pod(runtime, AWS_ENDPOINT_URL=aws.url)
        eventually(lambda: any(call.operation == "ReceiveMessage" for call in aws.calls[before:]))
        return pod.agent

    assert_ends(in_a_long_poll, within=1.0)


def test_an_agent_whose_runtime_is_not_up_ends_within_a_second(stack: Stack, runtime: str) -> None:
    def waiting() -> Process:
        agent, health = stack.start_agent(runtime, f"http://127.0.0.1:{free_port()}")
        eventually(lambda: answers(f"{health}/healthz"), within=60)
        assert not answers(f"{health}/readyz")
        return agent

    assert_ends(waiting, within=1.0)


def test_an_idle_agent_ends_soon_although_aws_is_mute(stack: Stack, runtime: str, localstack: str) -> None:
    with FaultProxy(localstack) as mute:
        gates: list[Gate] = []

        def muted() -> Process:
            for gate in gates:
                gate.drop()
            pod = stack.start_pod(runtime, AWS_ENDPOINT_URL=mute.url)
            gates[:] = [mute.freeze()]
            return pod.agent

        assert_ends(muted, within=3.0)


@pytest.mark.usefixtures("together")
def test_a_running_task_is_finished_and_a_waiting_one_handed_back_at_once(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake(seconds_per_task=4))
    first = stack.submit(runtime)
    pod.fake.wait_running(first)
    second = stack.submit(runtime)
    queue = stack.deployment.queue_url(runtime)
    eventually(lambda: stack.deployment.queue_counts(queue) == (0, 2))
    pod.agent.terminate()
    eventually(lambda: stack.deployment.queue_counts(queue)[0] == 1)
    assert pod.agent.is_alive(), "the running task was not finished"
    other = stack.start_pod(runtime, ready=False)
    for task_id in (first, second):
        assert stack.wait_ended_once(task_id, Status.SUCCEEDED).attempts == 1
    assert pod.agent.wait_ended(60)[0] == 0
    assert len(pod.fake.runs(first)) == len(other.fake.runs(second)) == 1


@pytest.mark.usefixtures("together")
def test_a_task_that_outlasts_the_grace_period_is_interrupted_and_handed_back(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake("hang"), GRACE_PERIOD_SECONDS=0.5)
    task_id = stack.submit(runtime)
    pod.fake.wait_running(task_id)
    stack.wait_status(task_id, Status.RUNNING)
    pod.agent.terminate()
    status, seconds = pod.agent.wait_ended(60)
    assert status == 0
    # 2.5 s, were the machine idle; an agent that waited for the interrupt's success, as it else does, would take 15.
    assert seconds <= 10.0
    eventually(lambda: pod.fake.runs(task_id)[0]["outcome"] == "interrupted")
    stack.start_pod(runtime, ready=False)
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert (submission.attempts, submission.excused) == (2, 1)


@pytest.mark.usefixtures("together")
def test_an_agent_ends_only_after_the_uploads_that_are_under_way(stack: Stack, runtime: str, aws: FaultProxy) -> None:
    gate = aws.hold(lambda call: call.operation == "PutObject" and "/output/" in call.resource)
    pod = stack.start_pod(runtime, AWS_ENDPOINT_URL=aws.url)
    task_id = stack.submit(runtime)
    gate.wait()
    pod.agent.terminate()
    eventually(lambda: not answers(f"{pod.health}/readyz"))
    gate.open()
    assert pod.agent.wait_ended(60)[0] == 0
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED).attempts == 1


def test_the_api_ends_within_a_second_when_nobody_asks_anything(stack: Stack) -> None:
    with Stack(stack.deployment, stack.folder / "second") as second:
        second.folder.mkdir()
        # uvicorn cleans up, and then lets the signal do its work (uvicorn, "Server.capture_signals").
        assert_ends(second.start_api, within=1.0, statuses=(0, -signal.SIGTERM))

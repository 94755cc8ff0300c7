"""AWS out of reach while tasks are under way: nothing that was accepted is lost, and nobody needs a restart."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.record import Status
from tests.support.proxy import FaultProxy, everything, operations
from tests.support.stack import SHORT_VISIBILITY, Stack, task, unique
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("together")

OUTAGE = 5.0
"""Seconds; longer than the visibility timeout of these stacks."""


def mute(aws: FaultProxy) -> Callable[[], None]:
    return aws.freeze().open


def failing(aws: FaultProxy) -> Callable[[], None]:
    aws.answer(everything, 503)
    return aws.heal


def expired(aws: FaultProxy) -> Callable[[], None]:
    """Credentials that have expired, and are renewed in the end without anybody's restart."""
    aws.expire_credentials()
    return aws.heal


@pytest.mark.parametrize("outage", [mute, failing, expired])
def test_what_was_accepted_ends_once_whatever_aws_does_meanwhile(
    outage: Callable[[FaultProxy], Callable[[], None]], stack: Stack, localstack: str, runtime: str
) -> None:
    folder = stack.folder / outage.__name__
    folder.mkdir()
    with FaultProxy(localstack) as aws, Stack(stack.deployment, folder, aws=aws.url) as behind:
        behind.start_api()
        try:
            survives(outage, behind, aws, runtime)
        except AssertionError as error:
            for process in behind.processes:
                error.add_note(f"log of {process.name}:\n{process.tail()}")
            raise
        assert behind.traces() == {}


@pytest.mark.parametrize("fate", ["not_accepted", "unknown"])
def test_what_was_answered_503_runs_once_when_it_is_sent_again_though_its_message_had_arrived(
    fate: str, stack: Stack, localstack: str, runtime: str
) -> None:
    folder = stack.folder / fate
    folder.mkdir()
    task_id = unique(fate.replace("_", "-"))
    body = {"task": task(task_id, runtime)}
    with FaultProxy(localstack) as aws, Stack(stack.deployment, folder, aws=aws.url) as behind:
        behind.start_api()
        aws.lose_answer(operations("Publish"), times=None)
        if fate == "unknown":
            aws.answer(operations("GetObject"), 503)  # so that nothing can be withdrawn
        refused = behind.post("/v1alpha2", body)
        assert refused.status_code == 503, refused.text
        assert refused.json()["error"]["details"] == {"id": task_id, "fate": fate}
        aws.heal()
        assert behind.post("/v1alpha2", body).status_code == 200
        pod = stack.start_pod(runtime, VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
        stack.wait_ended_once(task_id, Status.SUCCEEDED)
        assert len(pod.fake.runs(task_id)) == 1
        assert [callback.body["result"] for callback in stack.deployment.callbacks.heard(task_id)] == [True]


def survives(outage: Callable[[FaultProxy], Callable[[], None]], stack: Stack, aws: FaultProxy, runtime: str) -> None:
    """Submits tasks before, during and after an outage, and asserts that all that was accepted ends."""
    pods = [
        stack.start_pod(
            runtime,
            fake=stack.start_fake(seconds_per_task=0.7),
            ready=False,
            VISIBILITY_TIMEOUT=SHORT_VISIBILITY,
        )
        for _ in range(2)
    ]
    for pod in pods:
        pod.wait_ready()
    accepted = [stack.submit(runtime) for _ in range(6)]
    eventually(lambda: any(stack.status(item) is Status.RUNNING for item in accepted))
    end = outage(aws)
    deadline = time.monotonic() + OUTAGE

    def try_to_submit() -> tuple[str, int]:
        task_id = unique("outage")
        answer = stack.post("/v1alpha2", {"task": task(task_id, runtime)})
        if answer.status_code != 200:
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["Retry-After"]) > 0
            assert set(answer.json()) == {"error"}
        return task_id, answer.status_code

    with ThreadPoolExecutor(3) as pool:
        tries = [pool.submit(try_to_submit) for _ in range(3)]
        eventually(lambda: time.monotonic() > deadline, within=OUTAGE + 5)
        end()
        for task_id, status in (item.result(40) for item in tries):
            if status == 200:
                accepted.append(task_id)
    accepted.append(stack.submit(runtime))
    for task_id in accepted:
        stack.wait_ended_once(task_id, Status.SUCCEEDED, within=40)
    assert all(pod.agent.is_alive() for pod in pods)

"""AWS that loses its answers, tasks that outlast its timeouts: each is still generated once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from contract.record import Status
from tests.support.proxy import FaultProxy, Match, operations
from tests.support.stack import SHORT_VISIBILITY, Stack, unique

pytestmark = pytest.mark.usefixtures("together")


def writes_record(status: str) -> Callable[[str], Match]:
    """Returns a match for the writes that put a task's record into a state."""
    return lambda task_id: (
        lambda call: (
            call.operation == "PutObject"
            and call.resource.endswith(f"/.tasks/{task_id}.json")
            and f'"status":"{status}"'.encode() in call.body
        )
    )


def stores(ending: str) -> Callable[[str], Match]:
    """Returns a match for the storing of a task's result."""
    return lambda task_id: (
        lambda call: (
            call.operation == "PutObject" and f"/output/{task_id}/" in call.resource and call.resource.endswith(ending)
        )
    )


def published(part: str) -> Callable[[str], Match]:
    """Returns a match for publishing to the topic whose name ends so."""
    return lambda task_id: (
        lambda call: call.operation == "Publish" and part.encode() in call.body and task_id.encode() in call.body
    )


LOST: dict[str, Callable[[str], Match]] = {
    "the record of the submission": writes_record("queued"),
    "the task's message": published("-tasks"),
    "the start of the record": writes_record("running"),
    "an image": stores(".png"),
    "the runtime's answer": stores(".out"),
    "the end of the record": writes_record("succeeded"),
    "the callback": published("-callbacks"),
    "a deletion": lambda task_id: operations("DeleteMessage", "DeleteMessageBatch"),
    "a receive": lambda task_id: operations("ReceiveMessage"),
}


def test_a_task_longer_than_the_visibility_timeout_stays_with_its_agent(stack: Stack, runtime: str) -> None:
    pods = [
        stack.start_pod(
            runtime,
            fake=stack.start_fake(seconds_per_task=2.5 * SHORT_VISIBILITY),
            VISIBILITY_TIMEOUT=SHORT_VISIBILITY,
        )
        for _ in range(2)
    ]
    # Two run, and one more is held ready by each agent meanwhile, invisible for just as long.
    tasks = [stack.submit(runtime) for _ in range(4)]
    for task_id in tasks:
        assert stack.wait_ended_once(task_id, Status.SUCCEEDED, drained=False).attempts == 1
    stack.wait_drained(runtime)
    assert sum(len(pod.fake.jobs()) for pod in pods) == len(tasks)


@pytest.mark.parametrize("what", LOST)
def test_a_lost_answer_is_repaired_for(what: str, stack: Stack, localstack: str, runtime: str) -> None:
    task_id = unique("lost")
    folder = stack.folder / task_id
    folder.mkdir()
    with FaultProxy(localstack) as aws, Stack(stack.deployment, folder, aws=aws.url) as behind:
        aws.lose_answer(LOST[what](task_id), times=2)
        behind.start_api()
        behind.submit(runtime, task_id=task_id)
        # A message that was received but never arrived comes back when its visibility timeout is over.
        pod = behind.start_pod(runtime, VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
        submission = behind.wait_ended_once(task_id, Status.SUCCEEDED)
        assert submission.attempts == 1
        assert len(pod.fake.runs(task_id)) == 1
        assert behind.traces() == {}

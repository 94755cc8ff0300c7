"""A message that is there twice: its second copy never takes a task from the agent that has it, however long."""

from __future__ import annotations

import json

import pytest

from contract.identifiers import new_ulid
from contract.record import Status
from tests.support.stack import SHORT_VISIBILITY, Stack, task, unique

pytestmark = pytest.mark.usefixtures("together")


def test_a_second_copy_that_comes_back_again_and_again_waits_for_the_end(stack: Stack, runtime: str) -> None:
    task_id, url = unique("copied"), stack.deployment.queue_url(runtime)
    document = task(task_id, runtime)
    document["metadata"]["submission"] = new_ulid()
    long = 2.5 * SHORT_VISIBILITY
    pods = [
        stack.start_pod(
            runtime, fake=stack.start_fake(seconds_per_task=long), ready=False, VISIBILITY_TIMEOUT=SHORT_VISIBILITY
        )
        for _ in range(2)
    ]
    stack.deployment.clients.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(document))
    stack.wait_status(task_id, Status.RUNNING)
    stack.deployment.clients.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(document))

    ended = stack.wait_ended_once(task_id, Status.SUCCEEDED)

    assert ended.attempts == 1
    assert sum(len(pod.fake.runs(task_id)) for pod in pods) == 1
    stack.wait_drained(runtime)

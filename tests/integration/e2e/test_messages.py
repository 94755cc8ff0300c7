"""What the queue may hold: duplicates, old acquaintances, foreigners and rubbish."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.decisions import LAST_RECEIVES
from contract.identifiers import TaskRef, new_ulid
from contract.objects import output_prefix, rand4
from contract.record import KEPT_EARLIER, Status
from contract.topology import MAX_RECEIVE_COUNT
from local.provision import provision
from tests.support.stack import SHORT_VISIBILITY, Stack, task, unique
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("together")


def put(stack: Stack, runtime: str, body: str | dict[str, Any], times: int = 1) -> None:
    """Sends a body straight into a runtime's queue."""
    text = body if isinstance(body, str) else json.dumps(body)
    for _ in range(times):
        stack.deployment.clients.sqs.send_message(QueueUrl=stack.deployment.queue_url(runtime), MessageBody=text)


def message(task_id: str, runtime: str, *, submission: str, **content: Any) -> dict[str, Any]:
    """Returns a task message as the API publishes it."""
    document = task(task_id, runtime, **content)
    document["metadata"]["submission"] = submission
    return document


def test_of_two_agents_that_get_the_same_task_at_once_one_generates_it_and_the_other_is_interrupted(
    stack: Stack, runtime: str
) -> None:
    # A run begins a moment before the write that claims it has landed, so that the GPU does not wait for S3. Both may
    # have begun by then; whose write comes second gives up.
    task_id = unique("twice")
    put(stack, runtime, message(task_id, runtime, submission=new_ulid()), times=2)
    pods = [
        stack.start_pod(
            runtime,
            fake=stack.start_fake(seconds_per_task=3),
            ready=False,
            VISIBILITY_TIMEOUT=SHORT_VISIBILITY,
        )
        for _ in range(2)
    ]
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    outcomes = [job["outcome"] for pod in pods for job in pod.fake.runs(task_id)]
    assert sorted(outcomes) in (["succeeded"], ["interrupted", "succeeded"])
    assert submission.attempts == 1


def test_a_duplicate_of_a_running_task_waits_and_is_not_generated(stack: Stack, runtime: str) -> None:
    task_id, submission = unique("running"), new_ulid()
    pods = [
        stack.start_pod(
            runtime,
            fake=stack.start_fake(seconds_per_task=1.5),
            ready=False,
            VISIBILITY_TIMEOUT=SHORT_VISIBILITY,
        )
        for _ in range(2)
    ]
    put(stack, runtime, message(task_id, runtime, submission=submission))
    stack.wait_status(task_id, Status.RUNNING)
    put(stack, runtime, message(task_id, runtime, submission=submission))
    ended = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert ended.attempts == 1
    assert sum(len(pod.fake.runs(task_id)) for pod in pods) == 1


def test_a_redelivered_task_that_has_ended_is_recognised(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    task_id, submission = unique("redelivered"), new_ulid()
    put(stack, runtime, message(task_id, runtime, submission=submission))
    first = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    put(stack, runtime, message(task_id, runtime, submission=submission))
    put(stack, runtime, message(other := unique("after"), runtime, submission=new_ulid()))
    stack.deployment.callbacks.wait_for(other)
    assert stack.wait_ended_once(task_id, Status.SUCCEEDED) == first
    assert len(pod.fake.runs(task_id)) == 1


def test_a_message_that_no_agent_can_bring_to_an_end_fails_with_a_callback_before_sqs_buries_it(
    stack: Stack, runtime: str
) -> None:
    task_id = unique("poison")
    put(stack, runtime, message(task_id, runtime, submission=new_ulid()))
    sqs, url = stack.deployment.clients.sqs, stack.deployment.queue_url(runtime)
    # What agents do that die of a message before they have noted its run, over and over.
    for _ in range(MAX_RECEIVE_COUNT - LAST_RECEIVES):
        (found,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=found["ReceiptHandle"], VisibilityTimeout=0)
    pod = stack.start_pod(runtime)
    ended = stack.wait_ended_once(task_id, Status.FAILED)
    assert ended.error is not None
    assert ended.error.code == "undeliverable"
    assert not pod.fake.runs(task_id)
    assert stack.deployment.queue_counts(stack.deployment.dead_letter_url(runtime))[0] == 1


def test_a_task_id_that_is_submitted_again_after_it_ended_is_generated_again_into_files_of_its_own(
    stack: Stack, runtime: str
) -> None:
    pod = stack.start_pod(runtime)
    task_id = stack.submit(runtime)
    first = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    kept = {key: stack.deployment.object(key) for key in stack.deployment.object_keys(f"output/{task_id}/")}
    stack.submit(runtime, task_id=task_id)
    eventually(lambda: len(callbacks_by_submission(stack, task_id)) == 2, within=60)
    stack.wait_drained(runtime)
    record = stack.record(task_id)
    assert record is not None
    second = record.current
    assert second.submission != first.submission
    assert second.status is Status.SUCCEEDED
    assert record.earlier[first.submission] == first
    assert len(pod.fake.runs(task_id)) == 2
    keys = stack.deployment.object_keys(output_prefix("output", TaskRef(task_id)) + "/")
    for submission in (first.submission, second.submission):
        assert len([key for key in keys if f"-{rand4(submission)}" in key]) == 2
    assert len(keys) == 4
    assert {key: stack.deployment.object(key) for key in kept} == kept


def test_a_task_id_that_is_submitted_again_while_it_runs_ends_twice(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime, fake=stack.start_fake(seconds_per_task=0.5))
    task_id = stack.submit(runtime)
    pod.fake.wait_running(task_id)
    stack.submit(runtime, task_id=task_id)
    eventually(lambda: len(callbacks_by_submission(stack, task_id)) == 2, within=60)
    stack.wait_drained(runtime)
    record = stack.record(task_id)
    assert record is not None
    assert [item.status for item in (record.current, *record.earlier.values())] == [Status.SUCCEEDED] * 2
    assert len(pod.fake.runs(task_id)) == 2
    assert len(stack.deployment.object_keys(f"output/{task_id}/")) == 4


def test_a_submission_that_has_ended_never_comes_back_however_often_its_id_is_used_before_its_message_is_read(
    stack: Stack, runtime: str
) -> None:
    too_large_for_a_message = "blurred " * 40_000
    task_id = stack.submit(runtime, negative_prompt=too_large_for_a_message)
    for number in range(KEPT_EARLIER + 2):
        assert stack.cancel(task_id).status_code == 200
        stack.submit(runtime, task_id=task_id, seed=number)
    pod = stack.start_pod(runtime)
    stack.wait_drained(runtime)
    assert len(pod.fake.runs(task_id)) == 1
    eventually(lambda: len(callbacks_by_submission(stack, task_id)) == KEPT_EARLIER + 3)
    results = [body["result"] for bodies in callbacks_by_submission(stack, task_id).values() for body in bodies]
    assert sorted(results) == [False] * (KEPT_EARLIER + 2) + [True]
    record = stack.record(task_id)
    assert record is not None
    assert record.current.status is Status.SUCCEEDED
    assert not stack.deployment.object_keys(f".payloads/{task_id}/")


def callbacks_by_submission(stack: Stack, task_id: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for callback in stack.deployment.callbacks.heard(task_id):
        found.setdefault(callback.attributes["submission"], []).append(callback.body)
    return found


RUBBISH = {
    "no JSON": "this is not JSON",
    "an empty object": "{}",
    "a list": "[1, 2, 3]",
    "null": "null",
    "a number": "12345678901234567890123456789",
    "half a document": '{"metadata": {"id": "x"',
    "deeply nested": "[" * 50_000,
    "no content": json.dumps({"metadata": task("x", "spare0")["metadata"]}),
    "an id that climbs": json.dumps(task("../../x", "spare0")),
    "an unknown task type": json.dumps(task("x", "spare0", tasktype="text-to-video")),
    "a prefix that climbs": json.dumps({**task("x", "spare0"), "metadata": {"prefix": "../.tasks", "id": "x"}}),
    "a lone surrogate": '{"metadata": {"id": "\\ud800"}, "content": {}}',
}


def test_rubbish_goes_to_the_dead_letter_queue_with_a_reason_and_hurts_nobody(stack: Stack, runtime: str) -> None:
    pod = stack.start_pod(runtime)
    for body in RUBBISH.values():
        put(stack, runtime, body)
    after = stack.submit(runtime)
    assert stack.deployment.callbacks.wait_for(after).body["result"] is True
    stack.wait_drained(runtime, dead=len(RUBBISH))
    found: dict[str, str] = {}

    def all_read() -> bool:
        found.update({item["body"]: item["reason"] for item in stack.dead_letters(runtime)})
        return len(found) == len(RUBBISH)

    eventually(all_read)
    for what, body in RUBBISH.items():
        assert found[body], f"no reason for {what}"
    assert pod.agent.is_alive()


def test_a_foreign_publisher_needs_no_submission_and_no_record(stack: Stack, runtime: str) -> None:
    stack.start_pod(runtime)
    task_id = unique("foreign")
    stack.deployment.clients.sns.publish(
        TopicArn=stack.deployment.place.task_topic_arn,
        Message=json.dumps(task(task_id, runtime)),
        MessageAttributes={"runtime": {"DataType": "String", "StringValue": runtime}},
    )
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED)
    assert submission.submission
    assert submission.context == {"test": task_id}
    listed = stack.get(f"/v1/tasks?runtime={runtime}").json()["tasks"]
    assert task_id in {item["id"] for item in listed}


def test_a_task_whose_payload_is_gone_fails_in_words(stack: Stack, runtime: str) -> None:
    stack.start_pod(runtime)
    task_id = unique("lost")
    document = message(task_id, runtime, submission=new_ulid())
    del document["content"]
    document["content_ref"] = f"s3://{stack.deployment.place.output_bucket}/.payloads/{task_id}/none.json"
    put(stack, runtime, document)
    submission = stack.wait_ended_once(task_id, Status.FAILED)
    assert submission.error is not None
    assert submission.error.message


def test_a_task_of_another_kind_of_runtime_fails_in_words(stack: Stack, runtime: str) -> None:
    stack.start_pod(runtime)
    task_id = unique("pipeline")
    put(stack, runtime, message(task_id, runtime, submission=new_ulid(), tasktype="pipeline"))
    submission = stack.wait_ended_once(task_id, Status.FAILED)
    assert submission.error is not None
    assert "pipeline" in submission.error.message


def test_a_task_whose_queue_was_gone_runs_once_the_queue_is_back(stack: Stack, runtime: str) -> None:
    deployment, folder = stack.deployment, stack.folder / "undelivered"
    folder.mkdir()
    with Stack(deployment, folder) as own:
        own.start_api(UNDELIVERED_SWEEP_SECONDS="1")
        deployment.clients.sqs.delete_queue(QueueUrl=deployment.queue_url(runtime))
        task_id = own.submit(runtime)
        undelivered = deployment.clients.sqs.get_queue_url(QueueName=deployment.place.undelivered)["QueueUrl"]
        eventually(lambda: sum(deployment.queue_counts(undelivered)) == 1)
        assert list(provision(deployment.place, deployment.clients))
        pod = stack.start_pod(runtime)
        stack.wait_ended_once(task_id, Status.SUCCEEDED)
        assert len(pod.fake.runs(task_id)) == 1
        eventually(lambda: sum(deployment.queue_counts(undelivered)) == 0)

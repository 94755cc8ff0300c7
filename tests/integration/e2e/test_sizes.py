"""However large a result is: the task ends in one state, with a callback that fits, and nothing is left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from contract.record import Status
from contract.task import SNS_MESSAGE_LIMIT
from tests.support.processes import Process
from tests.support.proxy import FaultProxy, operations
from tests.support.serving import ThreadedServer
from tests.support.stack import SHORT_VISIBILITY, Stack, task, unique
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("together")

LONGEST_ID = 256
LONGEST_PREFIX = "/".join("0123456789abcdef" * 3 for _ in range(8))


def many_images(count: int) -> dict[str, Any]:
    """Returns a workflow that saves so many small pictures of one colour."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": count, "color": 0}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "image"}},
    }


def test_a_callback_with_more_images_than_sns_has_room_for_is_shortened_and_says_where_all_of_them_are(
    stack: Stack, comfy_runtime: str
) -> None:
    stack.start_pod(comfy_runtime)
    task_id = unique("m" * (LONGEST_ID - 11))
    assert len(task_id) == LONGEST_ID
    metadata = task(task_id, comfy_runtime, tasktype="pipeline")["metadata"] | {"prefix": LONGEST_PREFIX}

    answer = stack.post("/v1/tasks", {"task": {"metadata": metadata, "content": many_images(300)}})

    assert answer.status_code == 202, answer.text
    submission = stack.wait_ended_once(task_id, Status.SUCCEEDED, within=100)
    assert len(submission.image_url) == 300
    assert not submission.dead_lettered
    callback = stack.deployment.callbacks.wait_for(task_id)
    assert callback.attributes["truncated"] == "true"
    assert callback.body["truncated"] == ["context", "image_url"]
    assert callback.body["image_count"] == 300
    assert len(json.dumps(callback.body).encode()) < SNS_MESSAGE_LIMIT
    view = stack.get(f"/v1/tasks/{task_id}").json()
    assert [image["s3"] for image in view["images"]] == submission.image_url
    assert view["context"] == {"test": task_id}


def test_a_callback_that_sns_refuses_for_good_is_noted_and_its_message_buried_at_once(
    stack: Stack, localstack: str, runtime: str
) -> None:
    folder = stack.folder / "refused"
    folder.mkdir()
    with FaultProxy(localstack) as aws, Stack(stack.deployment, folder, aws=aws.url) as behind:
        aws.answer(operations("Publish"), status=400)
        pod = behind.start_pod(runtime)
        task_id = stack.submit(runtime)
        stack.wait_drained(runtime, dead=1)
        record = stack.record(task_id)
        assert record is not None
        assert (record.current.status, record.current.dead_lettered) == (Status.SUCCEEDED, True)
        assert record.current.callback_error is not None
        assert record.current.callback_error.code == "callback_refused"
        (letter,) = stack.dead_letters(runtime)
        assert letter["task_id"] == task_id
        assert "callback was refused" in letter["reason"]

        # Sent back once the cause is gone, it is not run again, and called back for.
        aws.heal()
        stack.redrive(runtime)
        callback = stack.deployment.callbacks.wait_for(task_id)
        assert callback.body["result"] is True
        eventually(lambda: (found := stack.record(task_id)) and found.current.callback_sent)
        stack.wait_drained(runtime)
        assert len(pod.fake.runs(task_id)) == 1
        assert behind.traces() == {}


def test_a_dead_letter_that_sqs_refuses_for_good_stays_in_its_queue(
    stack: Stack, localstack: str, runtime: str
) -> None:
    folder = stack.folder / "letter"
    folder.mkdir()
    url = stack.deployment.queue_url(runtime)
    with FaultProxy(localstack) as aws, Stack(stack.deployment, folder, aws=aws.url) as behind:
        aws.answer(operations("SendMessage"), status=400)
        pod = behind.start_pod(runtime, VISIBILITY_TIMEOUT=SHORT_VISIBILITY)
        stack.deployment.clients.sqs.send_message(QueueUrl=url, MessageBody="this is not JSON")
        eventually(lambda: pod.agent.text().count("dead_letter_refused") >= 2)
        assert sum(stack.deployment.queue_counts(url)) == 1
        aws.heal()
        stack.wait_drained(runtime, dead=1)
        assert behind.traces() == {}


async def endless() -> web.Application:
    """Returns an SD Web UI whose answer to a request for images never ends."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return web.json_response({})
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"images": ["')
        while True:
            await response.write(b"x" * 65_536)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application


def test_a_runtime_that_answers_without_end_fails_its_tasks_and_not_its_agent(stack: Stack, runtime: str) -> None:
    most = 32 * 1024 * 1024
    with ThreadedServer(endless) as server:
        agent, _ = stack.start_agent(runtime, server.url, OUTPUT_MAX_BYTES=most)
        agent.wait_ready()
        before = peak_memory(agent)
        tasks = [stack.submit(runtime) for _ in range(4)]
        for task_id in tasks:
            submission = stack.wait_ended_once(task_id, Status.FAILED)
            assert submission.error is not None
            assert submission.error.code == "answer_too_large"
            assert f"more than {most} bytes" in submission.error.message
            assert submission.attempts == 1
        assert agent.is_alive()
        assert peak_memory(agent) - before < 4 * most


def peak_memory(process: Process) -> int:
    """Returns the most bytes that a process has had resident."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    (peak,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) * 1024


def test_a_message_that_leaves_no_room_for_a_reason_is_buried_all_the_same(stack: Stack, runtime: str) -> None:
    stack.start_pod(runtime)
    body = "x" * SNS_MESSAGE_LIMIT
    stack.deployment.clients.sqs.send_message(QueueUrl=stack.deployment.queue_url(runtime), MessageBody=body)
    stack.wait_drained(runtime, dead=1)
    (letter,) = stack.dead_letters(runtime)
    assert letter == {"body": body}

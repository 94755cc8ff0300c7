"""With `up -- --keep`, what was accepted outlives LocalStack: its objects, and tasks that are not over."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from contract.config import parse_config
from contract.objects import SAMPLE
from contract.task import Metadata, TaskMessage, TaskType, encode_task_message
from contract.topology import Topology, string_attributes, topology
from local.clients import Clients, make_clients
from local.emulators.environment import ensure_environment
from local.emulators.process import Emulator
from local.folders import state_folder
from local.kept import SentAgain, kept_path, send_again
from local.provision import provision
from tests.support.deployment import CONFIG
from tests.support.waiting import eventually

PLACE = topology(parse_config(CONFIG.format(stack="kept")))
BUCKET = PLACE.output_bucket


@contextmanager
def localstack(folder: Path) -> Iterator[Clients]:
    """One life of a LocalStack, which ends by SIGKILL."""
    python = ensure_environment(state_folder(), say=print)
    process = Emulator(python=python, folder=folder, keep=folder / "kept.sqlite3")
    process.start()
    try:
        process.wait_until_ready()
        clients = make_clients(process.endpoint)
        list(provision(PLACE, clients))
        yield clients
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.stop()


def publish_task(clients: Clients, name: str) -> None:
    metadata = Metadata(
        id=name,
        tenant="alice",
        runtime="comfyruntime",
        tasktype=TaskType.PIPELINE,
        prefix="output",
        submission=f"submission-of-{name}",
    )
    clients.sns.publish(
        TopicArn=PLACE.task_topic_arn,
        Message=encode_task_message(TaskMessage(metadata=metadata, content={"a": name})),
        MessageAttributes=string_attributes({"runtime": "comfyruntime"}),
    )


def call_back(clients: Clients, name: str) -> None:
    clients.sns.publish(
        TopicArn=PLACE.callback_topic_arn,
        Message=json.dumps({"id": name}),
        MessageAttributes=string_attributes({"submission": f"submission-of-{name}"}),
    )


def take(clients: Clients, place: Topology) -> list[str]:
    """Takes the tasks that wait; returns their ids."""
    sqs = clients.sqs
    url = sqs.get_queue_url(QueueName=place.queue("comfyruntime").name)["QueueUrl"]
    taken: list[str] = []
    while messages := sqs.receive_message(
        QueueUrl=url, WaitTimeSeconds=1, MaxNumberOfMessages=10, MessageSystemAttributeNames=["MessageGroupId"]
    ).get("Messages"):
        taken += [json.loads(message["Body"])["metadata"]["id"] for message in messages]
        assert {message["Attributes"]["MessageGroupId"] for message in messages} == {"alice"}
    return taken


def takes(clients: Clients, wanted: list[str]) -> bool:
    return take(clients, PLACE) == wanted


def test_objects_and_tasks_that_are_not_over_outlive_a_localstack_that_was_killed(tmp_path: Path) -> None:
    with localstack(tmp_path) as clients:
        s3 = clients.s3
        for version in (b"first", b"second"):
            s3.put_object(Bucket=BUCKET, Key="a/ä 1.png", Body=version, ContentType="image/png", Metadata={"by": "me"})
        for key in ("gone", "gone-too"):
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        s3.delete_object(Bucket=BUCKET, Key="gone")
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "gone-too"}]})
        tag = s3.head_object(Bucket=BUCKET, Key="a/ä 1.png")["ETag"]
        for name in ("over", "waits"):
            publish_task(clients, name)
        call_back(clients, "over")

    for _ in range(2):  # what was sent again is kept again
        with localstack(tmp_path) as clients:
            found = clients.s3.get_object(Bucket=BUCKET, Key="a/ä 1.png")
            assert (found["Body"].read(), found["ETag"], found["ContentType"]) == (b"second", tag, "image/png")
            assert found["Metadata"] == {"by": "me"}
            assert {item["Key"] for item in clients.s3.list_objects_v2(Bucket=BUCKET)["Contents"]} == {
                "a/ä 1.png",
                SAMPLE,
            }
            assert send_again(tmp_path / "kept.sqlite3", clients, PLACE) == SentAgain(tasks=1, callbacks=1)
            eventually(partial(takes, clients, ["waits"]))


def test_without_a_file_nothing_is_sent(deployment: Any, tmp_path: Path) -> None:
    assert send_again(tmp_path / "none", deployment.clients, deployment.place) == SentAgain()


def test_each_stack_has_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    assert kept_path(4566) != kept_path(9402)

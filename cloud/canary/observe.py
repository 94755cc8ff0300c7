"""Listens to a runtime's callbacks, and finds out by the task's record whether a canary made them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError
from pydantic import ValidationError

from cloud.aws import Aws
from cloud.canary.verdict import CANARY, STABLE, Sample
from contract.identifiers import TaskRef
from contract.objects import record_key
from contract.record import Record
from contract.store import is_absent
from contract.topology import Topology


@contextmanager
def callbacks(aws: Aws, place: Topology, runtime: str) -> Iterator[CallbackListener]:
    """Subscribes a queue of its own to a runtime's callbacks, and removes it afterwards."""
    sqs, sns = aws.client("sqs"), aws.client("sns")
    name = f"{place.callback_topic}-canary-{secrets.token_hex(4)}"
    arn = place.queue_arn(name)
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": place.callback_topic_arn}},
            }
        ],
    }
    url = sqs.create_queue(
        QueueName=name,
        Attributes={"Policy": json.dumps(policy), "SqsManagedSseEnabled": "true", "MessageRetentionPeriod": "3600"},
    )["QueueUrl"]
    try:
        subscription = sns.subscribe(
            TopicArn=place.callback_topic_arn,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true", "FilterPolicy": json.dumps({"runtime": [runtime]})},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        try:
            yield CallbackListener(aws, url, place.output_bucket, runtime)
        finally:
            sns.unsubscribe(SubscriptionArn=subscription)
    finally:
        sqs.delete_queue(QueueUrl=url)


class CallbackListener:
    """The queue that hears a runtime's callbacks; each submission counts once, however often it is told."""

    def __init__(self, aws: Aws, url: str, bucket: str, runtime: str) -> None:
        self._aws = aws
        self._url = url
        self._bucket = bucket
        self._runtime = runtime
        self._heard: set[str] = set()

    def receive(self, wait: int) -> list[Sample]:
        """Returns the tasks that have ended since, waiting up to `wait` seconds (20 at most) for the first."""
        sqs = self._aws.client("sqs")
        answer = sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, MessageAttributeNames=["All"]
        )
        samples = []
        for message in answer.get("Messages", []):
            sample = self._sample(message)
            if sample is not None:
                samples.append(sample)
            sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return samples

    def _sample(self, message: dict[str, Any]) -> Sample | None:
        attributes = {name: item["StringValue"] for name, item in message.get("MessageAttributes", {}).items()}
        submission = attributes.get("submission", "")
        if submission in self._heard:
            return None
        self._heard.add(submission)
        record = self._record(TaskRef(attributes.get("id", ""), attributes.get("tenant", "")))
        found = record.find(submission) if record else None
        if found is None or not found.holder:
            return None  # cancelled or refused before any pod ran it
        return Sample(
            track=track_of(found.holder, self._runtime),
            succeeded=attributes.get("result") == "true",
            seconds=found.timings.generation if found.timings else None,
        )

    def _record(self, task: TaskRef) -> Record | None:
        try:
            answer = self._aws.client("s3").get_object(Bucket=self._bucket, Key=record_key(task))
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        try:
            return Record.model_validate_json(answer["Body"].read())
        except ValidationError:
            return None  # one that somebody has spoilt says nothing of either track


def track_of(holder: str, runtime: str) -> str:
    """Returns the track of the pod that ran a task.

    A holder begins with the pod's name: `<release>-canary-<hash>-<id>-…` or `<release>-<hash>-<id>-…`. Kubernetes makes
    hashes of letters without vowels, so that no hash is "canary".
    """
    return CANARY if holder.startswith(f"{runtime}-canary-") else STABLE

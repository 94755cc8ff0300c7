"""A running stack as a client sees it: the API's address, AWS's address, and an inbox for callbacks."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

import boto3
import httpx

from contract.config import Config
from contract.topology import topology
from tests.support.processes import http


@dataclass(frozen=True)
class Target:
    """Where a stack is to be found."""

    api: str
    aws: str
    sample_image: str
    """The address of a picture, as the stack's agents reach it."""
    config: Config
    api_key: str | None = None

    def client(self, service: str) -> Any:
        """Returns a boto3 client of the stack's AWS."""
        # Typed loosely: the stubs know one overload for each of some 400 service names, and none for a variable.
        session: Any = boto3.session.Session()
        return session.client(
            service,
            endpoint_url=self.aws,
            region_name="us-east-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    @property
    def bucket(self) -> str:
        """The output bucket."""
        return topology(self.config).output_bucket

    def post(self, route: str, body: Any) -> httpx.Response:
        """Sends a request to the API."""
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        return http().post(f"{self.api}{route}", json=body, headers=headers, timeout=30)

    def get(self, route: str) -> httpx.Response:
        """Asks the API."""
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        return http().get(f"{self.api}{route}", headers=headers, timeout=30)


@dataclass
class Inbox:
    """A queue subscribed to the callback topic: what a customer would have."""

    sqs: Any
    url: str
    seen: list[tuple[dict[str, Any], dict[str, str]]] = field(default_factory=list)

    def poll(self, seconds: int) -> None:
        """Takes in what has arrived, waiting at most `seconds` for the first one."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url, WaitTimeSeconds=seconds, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        for message in answer.get("Messages", []):
            attributes = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
            self.seen.append((json.loads(message["Body"]), attributes))
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])

    def callbacks(self, task_id: str) -> list[dict[str, Any]]:
        """Returns the callbacks of one task that have arrived so far."""
        return [body for body, _ in self.seen if body["id"] == task_id]

    def wait(self, task_id: str, within: float = 60) -> dict[str, Any]:
        """Returns the first callback of a task.

        Raises:
            AssertionError: none came within that many seconds.
        """
        deadline = time.monotonic() + within
        while not (found := self.callbacks(task_id)):
            left = deadline - time.monotonic()
            assert left > 0, (
                f"no callback of {task_id} within {within} s; others: {[body['id'] for body, _ in self.seen]}"
            )
            self.poll(max(1, min(int(left), 5)))
        return found[0]

    @classmethod
    @contextmanager
    def open(cls, target: Target) -> Iterator[Self]:
        """Subscribes a new queue to the callback topic, and removes it afterwards."""
        sqs, sns = target.client("sqs"), target.client("sns")
        url = sqs.create_queue(QueueName=f"inbox-{uuid.uuid4().hex[:12]}")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        subscription = sns.subscribe(
            TopicArn=topology(target.config).callback_topic_arn,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={"RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        try:
            yield cls(sqs, url)
        finally:
            sns.unsubscribe(SubscriptionArn=subscription)
            with suppress(sqs.exceptions.QueueDoesNotExist):  # gone with an emulator that was started anew
                sqs.delete_queue(QueueUrl=url)

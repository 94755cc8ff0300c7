"""A deployment of its own on the session's LocalStack: topics, queues, buckets, and a queue that hears callbacks."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from contract.config import Config, parse_config
from contract.s3 import S3, open_s3
from contract.topology import Topology, topology
from local.clients import CREDENTIALS, Clients, make_clients
from local.provision import provision
from tests.support.waiting import PATIENCE, eventually

CONFIG = """
stackName: {stack}
modelBucketArn: arn:aws:s3:::{stack}-models
modelsRuntime:
- {{name: sdruntime, type: sdwebui, modelFilename: v1-5-pruned-emaonly.safetensors}}
- {{name: dynamicruntime, type: sdwebui, dynamicModel: true}}
- {{name: comfyruntime, type: comfyui}}
"""


@dataclass(frozen=True)
class ReceivedCallback:
    """A callback as a subscriber gets it."""

    body: dict[str, Any]
    attributes: dict[str, str]


class CallbackQueue:
    """A queue that is subscribed to the callback topic (raw delivery) and keeps all that it has heard."""

    def __init__(self, clients: Clients, place: Topology) -> None:
        self._sqs = clients.sqs
        self._heard: list[ReceivedCallback] = []
        name = f"{place.callback_topic}-test-{secrets.token_hex(4)}"
        self.url = clients.sqs.create_queue(QueueName=name)["QueueUrl"]
        clients.sns.subscribe(
            TopicArn=place.callback_topic_arn,
            Protocol="sqs",
            Endpoint=place.queue_arn(name),
            Attributes={"RawMessageDelivery": "true"},
        )

    def heard(self, task_id: str | None = None, *, wait: int = 0) -> list[ReceivedCallback]:
        """Returns every callback so far, in order of arrival; of one task, if an id is given.

        Args:
            task_id: whose callbacks are wanted.
            wait: seconds of a long poll for one more.
        """
        while messages := self._sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, MessageAttributeNames=["All"]
        ).get("Messages", []):
            for message in messages:
                attributes = {key: item["StringValue"] for key, item in message.get("MessageAttributes", {}).items()}
                self._heard.append(ReceivedCallback(json.loads(message["Body"]), attributes))
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            wait = 0
        return self._known(task_id)

    def wait_for(self, task_id: str, *, within: float = PATIENCE) -> ReceivedCallback:
        """Returns the first callback of a task.

        Raises:
            AssertionError: none came within the seconds given.
        """
        return eventually(lambda: self._known(task_id) or self.heard(task_id, wait=1), within=within)[0]

    def _known(self, task_id: str | None) -> list[ReceivedCallback]:
        return [item for item in self._heard if task_id is None or item.body["id"] == task_id]


@dataclass(frozen=True)
class Deployment:
    """One provisioned stack, and what a test needs to look into it."""

    config: Config
    place: Topology
    clients: Clients
    callbacks: CallbackQueue

    @property
    def endpoint(self) -> str:
        """LocalStack's URL."""
        return self.clients.endpoint

    def queue_url(self, runtime: str) -> str:
        """Returns the URL of a runtime's queue."""
        return self.clients.sqs.get_queue_url(QueueName=self.place.queue(runtime).name)["QueueUrl"]

    def dead_letter_url(self, runtime: str) -> str:
        """Returns the URL of a runtime's dead-letter queue."""
        return self.clients.sqs.get_queue_url(QueueName=self.place.queue(runtime).dead_letter_name)["QueueUrl"]

    def aws_environment(self) -> dict[str, str]:
        """Returns the environment by which any of our processes reaches this LocalStack."""
        return CREDENTIALS | {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": self.place.region,
            "AWS_DEFAULT_REGION": self.place.region,
            # No look-up of an instance's credentials when something is amiss.
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @asynccontextmanager
    async def s3(self) -> AsyncIterator[S3]:
        """Opens the client of the output bucket that the API and the agent use."""
        session = AioSession()
        session.set_credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
        async with open_s3(
            session,
            self.place.output_bucket,
            region=self.place.region,
            config=AioConfig(s3={"addressing_style": "path"}),
            endpoint=self.endpoint,
            seconds=30,
        ) as s3:
            yield s3

    def queue_counts(self, url: str) -> tuple[int, int]:
        """Returns how many messages of a queue are visible, and how many are held invisible."""
        attributes = self.clients.sqs.get_queue_attributes(
            QueueUrl=url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return (
            int(attributes["ApproximateNumberOfMessages"]),
            int(attributes["ApproximateNumberOfMessagesNotVisible"]),
        )

    def object_keys(self, prefix: str = "") -> list[str]:
        """Returns the keys in the output bucket that start with `prefix`, sorted."""
        pages = self.clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.place.output_bucket, Prefix=prefix
        )
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))

    def object(self, key: str) -> bytes:
        """Returns the bytes of an object in the output bucket."""
        return self.clients.s3.get_object(Bucket=self.place.output_bucket, Key=key)["Body"].read()


@cache
def _clients(endpoint: str) -> Clients:
    """Returns one set of clients for all tests: making them takes longer than provisioning."""
    return make_clients(endpoint)


def deploy(endpoint: str, *, config: str = CONFIG) -> Deployment:
    """Provisions a stack with a name that no other test has.

    Args:
        endpoint: LocalStack's URL.
        config: the text of a config.yaml in which `{stack}` stands for that name (other braces doubled).
    """
    parsed = parse_config(config.format(stack=f"t{secrets.token_hex(5)}"))
    clients = _clients(endpoint)
    place = topology(parsed)
    for _ in provision(place, clients):
        pass
    return Deployment(parsed, place, clients, CallbackQueue(clients, place))

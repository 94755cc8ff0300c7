"""Applies `contract/topology.py` to LocalStack: makes what is missing, corrects what differs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from contract.objects import SAMPLE
from contract.topology import (
    Topology,
    bucket_cors,
    bucket_lifecycle,
    dead_letter_attributes,
    queue_attributes,
    subscription_attributes,
    undelivered_attributes,
    webhooks_attributes,
    webhooks_dead_letter_attributes,
    webhooks_subscription_attributes,
)
from local.clients import Clients


class Action(StrEnum):
    """What was done to a resource."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REMOVED = "removed"


@dataclass(frozen=True)
class Change:
    """One resource, and what was done to it."""

    action: Action
    kind: str
    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.action:<9} {self.kind} {self.name}" + (f" ({self.detail})" if self.detail else "")


def provision(place: Topology, clients: Clients) -> Iterator[Change]:
    """Yields each resource of a topology once it is there as described; a second run yields only `unchanged`.

    Raises:
        botocore.exceptions.BotoCoreError: LocalStack cannot be reached.
        botocore.exceptions.ClientError: LocalStack refuses a call.
    """
    yield _bucket(clients, place.output_bucket)
    yield _lifecycle(clients, place)
    yield _sample(clients, place)
    yield _cors(clients, place)
    if place.model_bucket != place.output_bucket:
        yield _bucket(clients, place.model_bucket)
    yield _topic(clients, place.task_topic, place.task_topic_arn)
    yield _topic(clients, place.callback_topic, place.callback_topic_arn)
    yield _queue(clients, place.undelivered, undelivered_attributes(place))
    yield _queue(clients, place.webhooks_dead_letter, webhooks_dead_letter_attributes())
    yield _queue(clients, place.webhooks, webhooks_attributes(place))
    yield _webhooks_subscription(clients, place)
    for queue in place.queues:
        yield _queue(clients, queue.dead_letter_name, dead_letter_attributes(queue))
        yield _queue(clients, queue.name, queue_attributes(place, queue))
    yield from _subscriptions(clients, place)


def account_of(clients: Clients, place: Topology) -> str:
    """Returns the account that an emulator plays, as the ARN of a topic says, which is there for that moment only.

    Raises:
        botocore.exceptions.BotoCoreError: it cannot be reached.
        botocore.exceptions.ClientError: it refuses the call.
    """
    arn: str = clients.sns.create_topic(Name=f"{place.task_topic}-probe-{secrets.token_hex(4)}")["TopicArn"]
    clients.sns.delete_topic(TopicArn=arn)
    return arn.split(":")[4]


def differing(wanted: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, str]:
    """Returns the attributes to be set, encoded as AWS takes them.

    Mappings are compared as JSON values, since a service may answer with its own spacing and order; a number in them
    may come back as a string.
    """
    return {name: _encoded(value) for name, value in wanted.items() if not _same(value, found.get(name))}


def _same(wanted: Any, found: str | None) -> bool:
    if found is None:
        return False
    if isinstance(wanted, str):
        return wanted == found
    try:
        return bool(_texts(json.loads(found)) == _texts(wanted))
    except ValueError:
        return False


def _texts(value: Any) -> Any:
    match value:
        case dict():
            return {key: _texts(item) for key, item in value.items()}
        case list():
            return [_texts(item) for item in value]
        case _:
            return str(value)


def _encoded(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _bucket(clients: Clients, name: str) -> Change:
    try:
        clients.s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        if clients.region == "us-east-1":  # the one region that may not be named
            clients.s3.create_bucket(Bucket=name)
        else:
            location: Any = {"LocationConstraint": clients.region}
            clients.s3.create_bucket(Bucket=name, CreateBucketConfiguration=location)
        return Change(Action.CREATED, "bucket", name)
    return Change(Action.UNCHANGED, "bucket", name)


def _sample(clients: Clients, place: Topology) -> Change:
    """Puts a picture into the bucket, for a first image-to-image task without the internet."""
    try:
        clients.s3.head_object(Bucket=place.output_bucket, Key=SAMPLE)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
            raise
        picture = Path(__file__).with_name("sample.png").read_bytes()
        clients.s3.put_object(Bucket=place.output_bucket, Key=SAMPLE, Body=picture, ContentType="image/png")
        return Change(Action.CREATED, "picture", SAMPLE)
    return Change(Action.UNCHANGED, "picture", SAMPLE)


def _lifecycle(clients: Clients, place: Topology) -> Change:
    wanted: Any = bucket_lifecycle(place)
    kind, name = "lifecycle", place.output_bucket
    try:
        found = clients.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
        action = Action.UPDATED
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "NoSuchLifecycleConfiguration":
            raise
        found, action = [], Action.CREATED
    if found == wanted["Rules"]:
        return Change(Action.UNCHANGED, kind, name)
    clients.s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=wanted)
    return Change(action, kind, name)


def _cors(clients: Clients, place: Topology) -> Change:
    wanted: Any = bucket_cors(place)
    kind, name = "CORS", place.output_bucket
    try:
        found, action = clients.s3.get_bucket_cors(Bucket=name)["CORSRules"], Action.UPDATED
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "NoSuchCORSConfiguration":
            raise
        found, action = [], Action.CREATED
    if found == wanted["CORSRules"]:
        return Change(Action.UNCHANGED, kind, name)
    clients.s3.put_bucket_cors(Bucket=name, CORSConfiguration=wanted)
    return Change(action, kind, name)


def _topic(clients: Clients, name: str, arn: str) -> Change:
    try:
        clients.sns.get_topic_attributes(TopicArn=arn)
    except clients.sns.exceptions.NotFoundException:
        clients.sns.create_topic(Name=name)
        return Change(Action.CREATED, "topic", name)
    return Change(Action.UNCHANGED, "topic", name)


def _queue(clients: Clients, name: str, wanted: dict[str, Any]) -> Change:
    sqs = clients.sqs
    try:
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    except sqs.exceptions.QueueDoesNotExist:
        attributes: Any = differing(wanted, {})
        sqs.create_queue(QueueName=name, Attributes=attributes)
        return Change(Action.CREATED, "queue", name)
    found: Any = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"]).get("Attributes", {})
    to_set: Any = differing(wanted, found)
    if not to_set:
        return Change(Action.UNCHANGED, "queue", name)
    sqs.set_queue_attributes(QueueUrl=url, Attributes=to_set)
    return Change(Action.UPDATED, "queue", name, ", ".join(sorted(to_set)))


def _subscribed(clients: Clients, topic_arn: str) -> dict[str, str]:
    """Returns the subscriptions of queues to a topic, by their endpoints."""
    return {
        item["Endpoint"]: item["SubscriptionArn"]
        for page in clients.sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic_arn)
        for item in page["Subscriptions"]
        if item["Protocol"] == "sqs"
    }


def _webhooks_subscription(clients: Clients, place: Topology) -> Change:
    endpoint = place.queue_arn(place.webhooks)
    return _subscription(
        clients,
        place.callback_topic_arn,
        endpoint,
        webhooks_subscription_attributes(),
        name=place.webhooks,
        arn=_subscribed(clients, place.callback_topic_arn).get(endpoint),
    )


def _subscriptions(clients: Clients, place: Topology) -> Iterator[Change]:
    found = _subscribed(clients, place.task_topic_arn)
    wanted = {place.queue_arn(queue.name): queue for queue in place.queues}
    for endpoint, queue in wanted.items():
        wanted_attributes = subscription_attributes(place, queue)
        yield _subscription(
            clients, place.task_topic_arn, endpoint, wanted_attributes, name=queue.name, arn=found.get(endpoint)
        )
    # A runtime that is no longer configured must not go on taking tasks by its checkpoint. Only queues of this stack's
    # own naming are touched: somebody may have subscribed a queue to look on.
    own = place.queue_arn(place.task_topic.removesuffix("tasks"))
    for endpoint, arn in found.items():
        if endpoint not in wanted and endpoint.startswith(own):
            clients.sns.unsubscribe(SubscriptionArn=arn)
            yield Change(Action.REMOVED, "subscription", endpoint.rpartition(":")[2], "its runtime is not configured")


def _subscription(
    clients: Clients, topic_arn: str, endpoint: str, wanted: dict[str, Any], *, name: str, arn: str | None
) -> Change:
    if arn is None:
        clients.sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=endpoint, Attributes=differing(wanted, {}))
        return Change(Action.CREATED, "subscription", name)
    to_set = differing(wanted, clients.sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"])
    for attribute, value in to_set.items():
        clients.sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName=attribute, AttributeValue=value)
    if to_set:
        return Change(Action.UPDATED, "subscription", name, ", ".join(sorted(to_set)))
    return Change(Action.UNCHANGED, "subscription", name)

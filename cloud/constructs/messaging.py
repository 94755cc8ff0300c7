"""Turns `contract/topology.py` into topics, queues and subscriptions; decides nothing itself."""

from __future__ import annotations

from typing import Any, cast

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contract.dead_letter import SQS_MESSAGE_LIMIT
from contract.task import SNS_MESSAGE_LIMIT
from contract.topology import (
    RETENTION,
    Queue,
    Topology,
    queue_attributes,
    subscription_attributes,
    undelivered_attributes,
    webhooks_attributes,
    webhooks_subscription_attributes,
)


class Messaging(Construct):
    """The task topic with a queue and a dead-letter queue per runtime, and the callback topic.

    What SNS cannot deliver to a runtime's queue waits in one more queue, of all runtimes, from which the API takes it.

    What is in them ends with the stack. Everything is encrypted, and takes TLS only.
    """

    def __init__(self, scope: Construct, construct_id: str, *, place: Topology, message_kib: int) -> None:
        super().__init__(scope, construct_id)
        # The most that a queue takes, and what a new one does; one from before August 2025 has SNS' default.
        self._raised = SQS_MESSAGE_LIMIT if message_kib * 1024 > SNS_MESSAGE_LIMIT else None
        # AWS's own key: whoever may use the topic may use it, and SNS decrypts before it delivers.
        self._key = kms.Alias.from_alias_name(self, "SnsKey", "alias/aws/sns")
        self.task_topic = self._topic("TaskTopic", place.task_topic)
        if self._raised:
            # SNS then delivers to queues and functions alone (Amazon SNS, "Publishing large messages"); these are such.
            cast("sns.CfnTopic", self.task_topic.node.default_child).maximum_message_size = message_kib * 1024
        self.callback_topic = self._topic("CallbackTopic", place.callback_topic)
        self._undelivered = sqs.Queue(
            self,
            "Undelivered",
            queue_name=place.undelivered,
            retention_period=Duration.seconds(RETENTION),
            max_message_size_bytes=self._raised,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        _admit(self._undelivered, undelivered_attributes(place))
        for queue in place.queues:
            self._add(place, queue)
        self._add_webhooks(place)

    def _topic(self, construct_id: str, name: str) -> sns.Topic:
        return sns.Topic(self, construct_id, topic_name=name, master_key=self._key, enforce_ssl=True)

    def _add(self, place: Topology, queue: Queue) -> None:
        scope = Construct(self, queue.runtime)
        dead_letters = _dead_letters(scope, queue.dead_letter_name, most=self._raised)
        attributes = queue_attributes(place, queue)
        tasks = _queue(scope, queue.name, attributes, dead_letters, most=self._raised)
        attributes = subscription_attributes(place, queue)
        _subscribe(scope, self.task_topic, tasks, attributes, undelivered=self._undelivered)

    def _add_webhooks(self, place: Topology) -> None:
        # With an underscore, which no runtime's name has.
        scope = Construct(self, "_webhooks")
        dead_letters = _dead_letters(scope, place.webhooks_dead_letter)
        nudges = _queue(scope, place.webhooks, webhooks_attributes(place), dead_letters)
        attributes = webhooks_subscription_attributes()
        _subscribe(scope, self.callback_topic, nudges, attributes)


def _dead_letters(scope: Construct, name: str, *, most: int | None = None) -> sqs.Queue:
    """Makes a dead-letter queue; `most` bytes of a message, None: what a new queue takes."""
    return sqs.Queue(
        scope,
        "DeadLetters",
        queue_name=name,
        retention_period=Duration.seconds(RETENTION),
        max_message_size_bytes=most,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        removal_policy=RemovalPolicy.DESTROY,
    )


def _queue(
    scope: Construct, name: str, attributes: dict[str, Any], dead_letters: sqs.Queue, *, most: int | None = None
) -> sqs.Queue:
    queue = sqs.Queue(
        scope,
        "Tasks",
        queue_name=name,
        visibility_timeout=Duration.seconds(int(attributes["VisibilityTimeout"])),
        retention_period=Duration.seconds(int(attributes["MessageRetentionPeriod"])),
        receive_message_wait_time=Duration.seconds(int(attributes["ReceiveMessageWaitTimeSeconds"])),
        dead_letter_queue=sqs.DeadLetterQueue(
            queue=dead_letters, max_receive_count=attributes["RedrivePolicy"]["maxReceiveCount"]
        ),
        max_message_size_bytes=most,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
        removal_policy=RemovalPolicy.DESTROY,
    )
    _admit(queue, attributes)
    return queue


def _subscribe(
    scope: Construct,
    topic: sns.Topic,
    queue: sqs.Queue,
    attributes: dict[str, Any],
    *,
    undelivered: sqs.Queue | None = None,
) -> None:
    """Subscribes a queue; what SNS cannot deliver to it goes to another one, if there is one for it."""
    subscription = sns.CfnSubscription(
        scope,
        "Subscription",
        topic_arn=topic.topic_arn,
        protocol="sqs",
        endpoint=queue.queue_arn,
        raw_message_delivery=attributes["RawMessageDelivery"] == "true",
        filter_policy=attributes["FilterPolicy"],
        filter_policy_scope=attributes["FilterPolicyScope"],
        redrive_policy=undelivered and {"deadLetterTargetArn": undelivered.queue_arn},
    )
    # Subscribed means deliverable: not before the queues let the topic in.
    for queue_in_use in (queue, *([undelivered] if undelivered else [])):
        subscription.node.add_dependency(queue_in_use.node.find_child("Policy"))


def _admit(queue: sqs.Queue, attributes: dict[str, Any]) -> None:
    for statement in attributes["Policy"]["Statement"]:
        queue.add_to_resource_policy(iam.PolicyStatement.from_json(statement))

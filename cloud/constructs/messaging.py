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

    def _topic(self, construct_id: str, name: str) -> sns.Topic:
        return sns.Topic(self, construct_id, topic_name=name, master_key=self._key, enforce_ssl=True)

    def _add(self, place: Topology, queue: Queue) -> None:
        scope = Construct(self, queue.runtime)
        dead_letters = sqs.Queue(
            scope,
            "DeadLetters",
            queue_name=queue.dead_letter_name,
            retention_period=Duration.seconds(queue.retention),
            max_message_size_bytes=self._raised,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        tasks = sqs.Queue(
            scope,
            "Tasks",
            queue_name=queue.name,
            visibility_timeout=Duration.seconds(queue.visibility_timeout),
            retention_period=Duration.seconds(queue.retention),
            receive_message_wait_time=Duration.seconds(queue.receive_wait),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead_letters, max_receive_count=queue.max_receive_count),
            max_message_size_bytes=self._raised,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        _admit(tasks, queue_attributes(place, queue))
        attributes = subscription_attributes(place, queue)
        subscription = sns.CfnSubscription(
            scope,
            "Subscription",
            topic_arn=self.task_topic.topic_arn,
            protocol="sqs",
            endpoint=tasks.queue_arn,
            raw_message_delivery=attributes["RawMessageDelivery"] == "true",
            filter_policy=attributes["FilterPolicy"],
            filter_policy_scope=attributes["FilterPolicyScope"],
            redrive_policy={"deadLetterTargetArn": self._undelivered.queue_arn},
        )
        # Subscribed means deliverable: not before the queues let the topic in.
        for queue_in_use in (tasks, self._undelivered):
            subscription.node.add_dependency(queue_in_use.node.find_child("Policy"))


def _admit(queue: sqs.Queue, attributes: dict[str, Any]) -> None:
    for statement in attributes["Policy"]["Statement"]:
        queue.add_to_resource_policy(iam.PolicyStatement.from_json(statement))

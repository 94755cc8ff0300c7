"""Turns `contract/topology.py` into topics, queues and subscriptions; decides nothing itself."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from contract.topology import Queue, Topology, queue_attributes, subscription_attributes


class Messaging(Construct):
    """The task topic with a queue and a dead-letter queue per runtime, and the callback topic.

    What is in them ends with the stack. Everything is encrypted, and takes TLS only.
    """

    def __init__(self, scope: Construct, construct_id: str, *, place: Topology) -> None:
        super().__init__(scope, construct_id)
        # AWS's own key: whoever may use the topic may use it, and SNS decrypts before it delivers.
        self._key = kms.Alias.from_alias_name(self, "SnsKey", "alias/aws/sns")
        self.task_topic = self._topic("TaskTopic", place.task_topic)
        self.callback_topic = self._topic("CallbackTopic", place.callback_topic)
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
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,
        )
        for statement in queue_attributes(place, queue)["Policy"]["Statement"]:
            tasks.add_to_resource_policy(iam.PolicyStatement.from_json(statement))
        attributes = subscription_attributes(queue)
        subscription = sns.CfnSubscription(
            scope,
            "Subscription",
            topic_arn=self.task_topic.topic_arn,
            protocol="sqs",
            endpoint=tasks.queue_arn,
            raw_message_delivery=attributes["RawMessageDelivery"] == "true",
            filter_policy=attributes["FilterPolicy"],
            filter_policy_scope=attributes["FilterPolicyScope"],
        )
        # Subscribed means deliverable: not before the queue lets the topic in.
        subscription.node.add_dependency(tasks.node.find_child("Policy"))

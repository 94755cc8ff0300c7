"""The stack through which tasks and results pass; it needs no other one."""

from __future__ import annotations

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from cloud.constructs.delivery import Delivery
from cloud.constructs.messaging import Messaging
from cloud.constructs.results import Results
from contract.config import Config
from contract.topology import Topology


class MessagingStack(Stack):
    """Topics, queues, the output bucket, and what delivers from it."""

    def __init__(
        self, scope: Construct, construct_id: str, *, env: Environment, config: Config, place: Topology
    ) -> None:
        super().__init__(scope, construct_id, env=env, description="Darkroom: topics, queues and the output bucket")
        messaging = Messaging(self, "Messaging", place=place, message_kib=config.cloud.task_message_kib)
        results = Results(self, "Results", place=place)
        self.cdn = ""
        """The address of the delivery network; empty: there is none."""
        if config.cloud.delivery.enabled:
            self.cdn = Delivery(self, "Delivery", config=config, place=place, bucket=results.bucket).url
        CfnOutput(self, "TaskTopicArn", value=messaging.task_topic.topic_arn)
        CfnOutput(self, "CallbackTopicArn", value=messaging.callback_topic.topic_arn)
        CfnOutput(self, "OutputBucket", value=results.bucket.bucket_name)
        # So that a later deployment keeps it, whatever the default is by then.
        CfnOutput(self, "ModelBucket", value=place.model_bucket)

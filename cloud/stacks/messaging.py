"""The stack through which tasks and results pass; it needs no other one."""

from __future__ import annotations

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from cloud.constructs.messaging import Messaging
from cloud.constructs.results import Results
from contract.topology import Topology


class MessagingStack(Stack):
    """Topics, queues, and the output bucket."""

    def __init__(self, scope: Construct, construct_id: str, *, env: Environment, place: Topology) -> None:
        super().__init__(scope, construct_id, env=env, description="Darkroom: topics, queues and the output bucket")
        self.messaging = Messaging(self, "Messaging", place=place)
        self.results = Results(self, "Results", place=place)
        CfnOutput(self, "TaskTopicArn", value=self.messaging.task_topic.topic_arn)
        CfnOutput(self, "CallbackTopicArn", value=self.messaging.callback_topic.topic_arn)
        CfnOutput(self, "OutputBucket", value=self.results.bucket.bucket_name)

"""The stack with the sample application; it alone may fail or go without anything else."""

from __future__ import annotations

from aws_cdk import CfnOutput, Environment, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cloud.constructs.sample import SampleApplication
from contract.config import Config
from contract.topology import Topology


class SampleStack(Stack):
    """The console on Fargate, behind a load balancer, with the callbacks of the topic."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        env: Environment,
        config: Config,
        place: Topology,
        vpc: ec2.IVpc,
        api_url: str,
        cdn: str,
    ) -> None:
        super().__init__(scope, construct_id, env=env, description="Darkroom: sample application")
        application = SampleApplication(
            self, "Application", config=config, place=place, vpc=vpc, api_url=api_url, cdn=cdn
        )
        CfnOutput(self, "SampleUrl", value=application.url)

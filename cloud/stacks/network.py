"""The stack with the network, on which all but the messaging stands."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Environment, Stack, Validations
from constructs import Construct

from cloud.constructs.network import Network, zones
from contract.config import Config


class NetworkStack(Stack):
    """The VPC."""

    def __init__(self, scope: Construct, construct_id: str, *, env: Environment, config: Config) -> None:
        self._zones = zones(config)
        super().__init__(scope, construct_id, env=env, description="Darkroom: network")
        self.network = Network(self, "Network", config=config)
        if config.cloud.availability_zones:
            Validations.of(self).acknowledge(
                Acknowledgment(
                    id="CloudFormation-Validate::W3010", reason="config.yaml names the zones, because EKS takes not all"
                )
            )

    @property
    def availability_zones(self) -> list[str]:
        """Returns the zones; overridden, because the CDK would otherwise ask AWS for them while it synthesizes."""
        return self._zones

"""The network of a deployment: one VPC over three zones, or two."""

from __future__ import annotations

from aws_cdk import Fn, Tags
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from contract.config import Config

ZONES = 3

ENTRANCE = ec2.SubnetType.PRIVATE_ISOLATED
"""The kind of the subnets that only the API's load balancer is in."""


def zones(config: Config) -> list[str]:
    """Returns the zones: the config's, which `deploy` chooses, else the first three, which CloudFormation looks up."""
    return list(config.cloud.availability_zones) or [Fn.select(index, Fn.get_azs()) for index in range(ZONES)]


class Network(Construct):
    """10.0.0.0/16 with a public and a private /19 in each zone; S3 is reached without NAT.

    A further /28 in each zone holds the API's load balancer and nothing else, so that its addresses can be named.
    """

    def __init__(self, scope: Construct, construct_id: str, *, config: Config) -> None:
        super().__init__(scope, construct_id)
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr("10.0.0.0/16"),
            max_azs=ZONES,
            nat_gateways=config.cloud.nat_gateways,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=19, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=19),
                # Last, and so after the addresses of the others. A load balancer needs eight free ones.
                ec2.SubnetConfiguration(name="Entrance", subnet_type=ENTRANCE, cidr_mask=28),
            ],
            # Models and images go through it by the terabyte; NAT would charge for each.
            gateway_endpoints={"S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
        )
        for subnet in self.vpc.private_subnets:
            # By this tag, Karpenter's node classes find the subnets.
            Tags.of(subnet).add("karpenter.sh/discovery", config.stack_name)

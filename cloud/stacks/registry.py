"""The stack that must be there before images are pushed and cached."""

from __future__ import annotations

from aws_cdk import CfnOutput, Environment, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cloud.constructs.image_cache import ImageCacheBuilder
from cloud.constructs.image_registry import ImageRegistry
from contract.config import Config


class RegistryStack(Stack):
    """Image repositories, and what the image cache is built with."""

    def __init__(self, scope: Construct, construct_id: str, *, env: Environment, config: Config, vpc: ec2.IVpc) -> None:
        super().__init__(scope, construct_id, env=env, description="Darkroom: image repositories and image cache")
        ImageRegistry(self, "Registry", config=config)
        builder = ImageCacheBuilder(self, "ImageCache", vpc=vpc)
        CfnOutput(self, "ImageCacheInstanceProfile", value=builder.instance_profile.instance_profile_name)
        CfnOutput(self, "ImageCacheSecurityGroup", value=builder.security_group.security_group_id)
        CfnOutput(self, "ImageCacheSubnet", value=builder.subnet.subnet_id)

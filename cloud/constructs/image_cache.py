"""What the builder of the image cache runs with: an instance profile and a security group, but no instance."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cloud.constructs.cluster import instances


class ImageCacheBuilder(Construct):
    """An instance that may pull images and is steered through Systems Manager; nothing can reach it."""

    def __init__(self, scope: Construct, construct_id: str, *, vpc: ec2.IVpc) -> None:
        super().__init__(scope, construct_id)
        role = iam.Role(
            self,
            "Role",
            assumed_by=instances(self),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name("AmazonSSMManagedInstanceCore"),
                # As the nodes: images may come from another account's repository.
                iam.ManagedPolicy.from_aws_managed_policy_name("AmazonEC2ContainerRegistryPullOnly"),
            ],
        )
        self.instance_profile = iam.InstanceProfile(self, "Profile", role=role)
        self.security_group = ec2.SecurityGroup(
            self, "SecurityGroup", vpc=vpc, description="Builder of the image cache", allow_all_outbound=False
        )
        self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.HTTPS, "Registries and Systems Manager")
        self.subnet = vpc.private_subnets[0]

"""What Karpenter's controller may do: start, tag and end the instances of its own cluster, and read prices.

Source: aws/karpenter-provider-aws v1.14.1, getting started, cloudformation.yaml: eighteen statements in six policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cloud.names import url_suffix

Statement = dict[str, Any]


@dataclass(frozen=True)
class Scope:
    """Whose controller it is."""

    partition: str
    region: str
    account: str
    cluster: str
    node_role_arn: str
    queue_arn: str
    volume_keys: frozenset[str] = frozenset()
    """KMS keys, by id or ARN, that volumes of nodes are encrypted with, besides AWS's own."""

    def ec2(self, *kinds: str) -> list[str]:
        """Returns the ARNs of all EC2 resources of some kinds; which of them is what the conditions say."""
        return [f"arn:{self.partition}:ec2:{self.region}:*:{kind}/*" for kind in kinds]

    @property
    def owned(self) -> str:
        """The tag that says which cluster an instance belongs to."""
        return f"kubernetes.io/cluster/{self.cluster}"

    @property
    def instance_profiles(self) -> str:
        """The ARNs of the account's instance profiles."""
        return f"arn:{self.partition}:iam::{self.account}:instance-profile/*"

    @property
    def cluster_arn(self) -> str:
        """The cluster."""
        return f"arn:{self.partition}:eks:{self.region}:{self.account}:cluster/{self.cluster}"


def controller_policies(scope: Scope) -> dict[str, list[Statement]]:
    """Returns the statements by concern; each fits a managed policy (6,144 characters)."""
    return {
        "NodeLifecycle": _node_lifecycle(scope),
        "IamIntegration": _iam_integration(scope),
        "EksIntegration": [_allow("AllowAPIServerEndpointDiscovery", "eks:DescribeCluster", scope.cluster_arn)],
        "Interruption": [
            _allow(
                "AllowInterruptionQueueActions",
                ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"],
                scope.queue_arn,
            )
        ],
        "ZonalShift": [
            _allow(
                "AllowZonalShiftStatusReadOnly",
                ["arc-zonal-shift:GetManagedResource"],
                "*",
                {"StringEquals": {"arc-zonal-shift:ResourceIdentifier": scope.cluster_arn}},
            )
        ],
        "ResourceDiscovery": _resource_discovery(scope),
        **({"VolumeKeys": _volume_keys(scope)} if scope.volume_keys else {}),
    }


def _volume_keys(scope: Scope) -> list[Statement]:
    """Returns what it takes to encrypt nodes' volumes with keys of one's own: used through EC2 alone, and by grants.

    Source: aws/karpenter-provider-aws, "Troubleshooting", nodes that end because of an encrypted EBS volume.
    """
    prefix = f"arn:{scope.partition}:kms:{scope.region}:{scope.account}:key/"
    keys = sorted({key if key.startswith("arn:") else f"{prefix}{key}" for key in scope.volume_keys})
    through = {"StringEquals": {"kms:ViaService": f"ec2.{scope.region}.{url_suffix(scope.partition)}"}}
    return [
        _allow(
            "AllowVolumeKeys",
            ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
            keys,
            through,
        ),
        _allow(
            "AllowVolumeKeyGrants",
            "kms:CreateGrant",
            keys,
            {**through, "Bool": {"kms:GrantIsForAWSResource": "true"}},
        ),
    ]


def _node_lifecycle(scope: Scope) -> list[Statement]:
    created = scope.ec2("fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request")
    ours = {f"aws:RequestTag/{scope.owned}": "owned", "aws:RequestTag/eks:eks-cluster-name": scope.cluster}
    of_a_pool = {"aws:RequestTag/karpenter.sh/nodepool": "*"}
    existing = {
        "StringEquals": {f"aws:ResourceTag/{scope.owned}": "owned"},
        "StringLike": {"aws:ResourceTag/karpenter.sh/nodepool": "*"},
    }
    return [
        _allow(
            "AllowScopedEC2InstanceAccessActions",
            ["ec2:RunInstances", "ec2:CreateFleet"],
            [
                f"arn:{scope.partition}:ec2:{scope.region}::image/*",
                f"arn:{scope.partition}:ec2:{scope.region}::snapshot/*",
                *scope.ec2("security-group", "subnet", "capacity-reservation", "placement-group"),
            ],
        ),
        _allow(
            "AllowScopedEC2LaunchTemplateAccessActions",
            ["ec2:RunInstances", "ec2:CreateFleet"],
            scope.ec2("launch-template"),
            existing,
        ),
        _allow(
            "AllowScopedEC2InstanceActionsWithTags",
            ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"],
            created,
            {"StringEquals": ours, "StringLike": of_a_pool},
        ),
        _allow(
            "AllowScopedResourceCreationTagging",
            "ec2:CreateTags",
            created,
            {
                "StringEquals": {
                    **ours,
                    "ec2:CreateAction": ["RunInstances", "CreateFleet", "CreateLaunchTemplate"],
                },
                "StringLike": of_a_pool,
            },
        ),
        _allow(
            "AllowScopedResourceTagging",
            "ec2:CreateTags",
            scope.ec2("instance"),
            {
                **existing,
                "StringEqualsIfExists": {"aws:RequestTag/eks:eks-cluster-name": scope.cluster},
                "ForAllValues:StringEquals": {
                    "aws:TagKeys": ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"]
                },
            },
        ),
        _allow(
            "AllowScopedDeletion",
            ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"],
            scope.ec2("instance", "launch-template"),
            existing,
        ),
    ]


def _iam_integration(scope: Scope) -> list[Statement]:
    region = "topology.kubernetes.io/region"
    requested = {
        f"aws:RequestTag/{scope.owned}": "owned",
        "aws:RequestTag/eks:eks-cluster-name": scope.cluster,
        f"aws:RequestTag/{region}": scope.region,
    }
    existing = {f"aws:ResourceTag/{scope.owned}": "owned", f"aws:ResourceTag/{region}": scope.region}
    asked_for = {"aws:RequestTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    there = {"aws:ResourceTag/karpenter.k8s.aws/ec2nodeclass": "*"}
    return [
        _allow(
            "AllowPassingInstanceRole",
            "iam:PassRole",
            scope.node_role_arn,
            {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "ec2.amazonaws.com.cn"]}},
        ),
        _allow(
            "AllowScopedInstanceProfileCreationActions",
            ["iam:CreateInstanceProfile"],
            scope.instance_profiles,
            {"StringEquals": requested, "StringLike": asked_for},
        ),
        _allow(
            "AllowScopedInstanceProfileTagActions",
            ["iam:TagInstanceProfile"],
            scope.instance_profiles,
            {"StringEquals": {**existing, **requested}, "StringLike": {**there, **asked_for}},
        ),
        _allow(
            "AllowScopedInstanceProfileActions",
            ["iam:AddRoleToInstanceProfile", "iam:RemoveRoleFromInstanceProfile", "iam:DeleteInstanceProfile"],
            scope.instance_profiles,
            {"StringEquals": existing, "StringLike": there},
        ),
    ]


def _resource_discovery(scope: Scope) -> list[Statement]:
    return [
        _allow(
            "AllowRegionalReadActions",
            [
                f"ec2:Describe{what}"
                for what in (
                    *("CapacityReservations", "Images", "Instances", "InstanceStatus", "InstanceTypeOfferings"),
                    *("InstanceTypes", "LaunchTemplates", "PlacementGroups", "SecurityGroups", "SpotPriceHistory"),
                    "Subnets",
                )
            ],
            "*",
            {"StringEquals": {"aws:RequestedRegion": scope.region}},
        ),
        _allow(
            "AllowSSMReadActions",
            "ssm:GetParameter",
            f"arn:{scope.partition}:ssm:{scope.region}::parameter/aws/service/*",
        ),
        _allow("AllowPricingReadActions", "pricing:GetProducts", "*"),
        _allow("AllowUnscopedInstanceProfileListAction", "iam:ListInstanceProfiles", "*"),
        _allow("AllowInstanceProfileReadActions", "iam:GetInstanceProfile", scope.instance_profiles),
    ]


def _allow(
    sid: str, actions: str | list[str], resources: str | list[str], condition: dict[str, Any] | None = None
) -> Statement:
    statement: Statement = {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}
    return statement | ({"Condition": condition} if condition else {})

"""Which resources of the templates cost money: counted in the fixed part, billed by use, or free; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

FIXED: Final = frozenset(
    {
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        # Its public IPv4 address, which a NAT gateway has.
        "AWS::EC2::EIP",
        # Those of the nodes: their volumes.
        "AWS::EC2::LaunchTemplate",
        "AWS::EC2::NatGateway",
        # Its tasks on Fargate, as large as their definition says.
        "AWS::ECS::Service",
        "AWS::ECS::TaskDefinition",
        "AWS::EKS::Cluster",
        "AWS::EKS::Nodegroup",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "AWS::KMS::Key",
        "AWS::Logs::MetricFilter",
        "AWS::SecretsManager::Secret",
    }
)
"""What `cloud.synthesis.cost` counts: it is there all month, whatever the load."""

BY_USE: Final[Mapping[str, str]] = {
    "AWS::ApiGateway::RestApi": "requests to API Gateway",
    "AWS::CloudFront::Distribution": "what CloudFront sends",
    "AWS::DataSync::Task": "what DataSync copies",
    "AWS::EC2::NatGateway": "traffic through the NAT gateways and between zones",
    "AWS::ECR::Repository": "images in ECR, by GB and month",
    "AWS::EFS::FileSystem": "models in EFS, and what is read of them",
    "AWS::EKS::Addon": "Container Insights, by observation of each pod and node",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "traffic through the load balancer (LCU)",
    "AWS::KMS::Key": "requests to KMS, and a key's second and third version",
    "AWS::Lambda::Function": "seconds of the functions that apply charts, at a deployment",
    "AWS::Logs::LogGroup": "logs, EKS' audit log among them, by GB",
    "AWS::S3::Bucket": "objects in S3, and requests for them",
    "AWS::SNS::Topic": "requests to SNS",
    "AWS::SQS::Queue": "requests to SQS, KEDA's looks among them",
    "AWS::SecretsManager::Secret": "requests for the secret",
    "Custom::AWSCDK-EKS-HelmChart": "GPU nodes, their volumes, and these' initialization by GiB of the snapshot",
    "Custom::AWSCDK-EKS-KubernetesResource": "traces in X-Ray",
}
"""What else is charged for it, by a quantity that no template says: `plan` foretells some of it for a load."""

FREE: Final = frozenset(
    {
        "AWS::ApiGateway::Account",
        "AWS::ApiGateway::ApiKey",
        "AWS::ApiGateway::Deployment",
        "AWS::ApiGateway::GatewayResponse",
        "AWS::ApiGateway::Method",
        "AWS::ApiGateway::Resource",
        "AWS::ApiGateway::Stage",
        "AWS::ApiGateway::UsagePlan",
        "AWS::ApiGateway::UsagePlanKey",
        "AWS::ApiGateway::VpcLink",
        # Without an action.
        "AWS::Budgets::Budget",
        "AWS::CloudFront::OriginAccessControl",
        "AWS::DataSync::LocationEFS",
        "AWS::DataSync::LocationS3",
        "AWS::EC2::InternetGateway",
        "AWS::EC2::Route",
        "AWS::EC2::RouteTable",
        "AWS::EC2::SecurityGroup",
        "AWS::EC2::SecurityGroupEgress",
        "AWS::EC2::SecurityGroupIngress",
        "AWS::EC2::Subnet",
        "AWS::EC2::SubnetRouteTableAssociation",
        "AWS::EC2::VPC",
        # Of S3, a gateway; one with network interfaces is billed by the hour.
        "AWS::EC2::VPCEndpoint",
        "AWS::EC2::VPCGatewayAttachment",
        "AWS::ECS::Cluster",
        "AWS::EFS::AccessPoint",
        "AWS::EFS::MountTarget",
        "AWS::EKS::AccessEntry",
        "AWS::EKS::PodIdentityAssociation",
        "AWS::ElasticLoadBalancingV2::Listener",
        "AWS::ElasticLoadBalancingV2::TargetGroup",
        # Of AWS's own events.
        "AWS::Events::Rule",
        "AWS::IAM::InstanceProfile",
        "AWS::IAM::ManagedPolicy",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::LayerVersion",
        "AWS::S3::BucketPolicy",
        "AWS::SNS::Subscription",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
        "AWS::SSM::Parameter",
        "Custom::VpcRestrictDefaultSG",
    }
)


def kinds(templates: Iterable[Mapping[str, Any]]) -> set[str]:
    """Returns the CloudFormation types of the templates."""
    return {item["Type"] for template in templates for item in template.get("Resources", {}).values()}


def on_top(templates: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns what these templates are charged for besides the fixed part, which no table here has a price for."""
    found = kinds(templates)
    return [what for kind, what in BY_USE.items() if kind in found]

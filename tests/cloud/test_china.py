"""A deployment in China names its own partition, domain and endpoints everywhere."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest

from cloud.names import check_partition, image
from contract.config import ChartName, Config, ConfigError
from tests.cloud.synthesis import Synthesis, plain


def test_every_arn_is_in_the_chinese_partition(china: Synthesis) -> None:
    arns = re.findall(r"arn:(aws[a-z-]*):", json.dumps(china.templates))
    assert len(arns) > 50
    assert set(arns) == {"aws-cn"}


def test_every_endpoint_is_in_the_chinese_domain(china: Synthesis) -> None:
    hosts = re.findall(r"[\w.-]*\.amazonaws\.com[.\w]*", json.dumps(china.templates))
    # Services are principals by one name in every partition, but for EC2's own.
    principals = {"apigateway", "cloudwatch", "ec2", "eks", "events", "lambda", "pods.eks", "sns", "sqs"}
    endpoints = [host for host in hosts if host.removesuffix(".amazonaws.com") not in principals]
    assert endpoints
    assert [host for host in endpoints if not host.endswith(".amazonaws.com.cn")] == []


def test_charts_and_images_may_all_come_from_ones_own_registry(china: Synthesis) -> None:
    """ECR Public, GitHub and its registry are slow or out of reach from there."""
    releases = china.properties("Custom::AWSCDK-EKS-HelmChart")
    own = "123456789012.dkr.ecr.cn-northwest-1.amazonaws.com.cn/"
    elsewhere = [item for item in releases if "ChartAssetURL" not in item]
    assert {item["Release"] for item in elsewhere} == set(get_args(ChartName))
    assert [item["Repository"] for item in elsewhere if not item["Repository"].startswith(f"oci://{own}")] == []
    values = {item["Release"]: json.loads(plain(item["Values"])) for item in elsewhere if "Values" in item}
    assert values["keda"]["global"]["image"]["registry"] == own.rstrip("/")
    assert values["keda"]["serviceAccount"]["operator"]["name"] == "keda-operator", "ours stay"
    assert values["karpenter"]["controller"]["resources"]["requests"], "ours stay beside the image"
    assert values["karpenter"]["controller"]["image"]["repository"].startswith(own)
    images = [
        container["image"]
        for item in china.kubernetes_objects()
        if item["kind"] == "Deployment"
        for container in item["spec"]["template"]["spec"]["containers"]
    ]
    assert len(images) >= 2
    # The API's, which the config does not name, is that of the account for which this was synthesized.
    assert [image for image in images if own[len("123456789012") :] not in image] == []


def test_instances_take_their_roles_by_ec2s_chinese_name(china: Synthesis) -> None:
    principals = [
        str(role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"])
        for role in china.properties("AWS::IAM::Role")
    ]
    assert len([name for name in principals if "ec2.amazonaws.com.cn" in name]) == 3
    assert not [name for name in principals if "'ec2.amazonaws.com'" in name]


def test_answers_are_not_streamed_where_the_gateway_cannot(china: Synthesis, default: Synthesis) -> None:
    def modes(assembly: Synthesis) -> set[str | None]:
        return {
            item["Integration"].get("ResponseTransferMode") for item in assembly.properties("AWS::ApiGateway::Method")
        }

    assert modes(china) == {None}
    assert modes(default) == {"STREAM"}


def config(partition: str) -> Config:
    return Config.model_validate(
        {
            "modelBucketArn": f"arn:{partition}:s3:::my-models",
            "modelsRuntime": [{"name": "a", "type": "sdwebui"}],
        }
    )


@pytest.mark.parametrize(
    ("partition", "region"),
    [("aws", "us-east-1"), ("aws-cn", "cn-northwest-1"), ("aws-us-gov", "us-gov-west-1"), ("aws", "ap-northeast-1")],
)
def test_a_region_of_the_buckets_partition_is_taken(partition: str, region: str) -> None:
    check_partition(config(partition), region)


@pytest.mark.parametrize(
    ("partition", "region", "found"),
    [("aws", "cn-north-1", "aws-cn"), ("aws-cn", "us-east-1", "aws"), ("aws", "us-gov-east-1", "aws-us-gov")],
)
def test_a_region_of_another_partition_is_refused_with_the_way_out(partition: str, region: str, found: str) -> None:
    with pytest.raises(ConfigError, match=rf"^modelBucketArn: .* {region} .*arn:{found}:s3:::my-models"):
        check_partition(config(partition), region)


def test_images_come_from_the_regions_own_registry() -> None:
    assert (
        image(config("aws-cn"), "agent", account="123456789012", region="cn-north-1")
        == "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/darkroom/agent:latest"
    )

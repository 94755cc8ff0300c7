"""No change of the templates replaces what holds data or an address without being seen: it is kept in a file.

CloudFormation replaces a resource whose logical id is another one, or of whose create-only properties one has changed
(AWS CloudFormation, "Update behaviors of stack resources"). Both are in `stateful.json`, for two configs. Who means a
replacement, or adds such a resource, writes the file anew and lands it with the change:

    KEEP_STATEFUL=1 uvx nox -s test -- tests/cloud/test_stateful.py
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.cloud.synthesis import DISTINCT, Synthesis

KEPT: Final = Path(__file__).with_name("stateful.json")

STATEFUL: Final = frozenset(
    {
        "AWS::ApiGateway::ApiKey",
        "AWS::ApiGateway::RestApi",
        "AWS::CloudFront::Distribution",
        "AWS::EC2::EIP",
        "AWS::EC2::Subnet",
        "AWS::EC2::VPC",
        "AWS::ECR::Repository",
        "AWS::EFS::FileSystem",
        "AWS::EKS::Cluster",
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "AWS::KMS::Key",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::SNS::Topic",
        "AWS::SQS::Queue",
        "AWS::SecretsManager::Secret",
    }
)
"""What is lost, or has another address afterwards, when it is replaced."""


def create_only(kind: str) -> list[tuple[str, ...]]:
    """Returns the properties of a type whose change replaces the resource, as CloudFormation's schema has them."""
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    pointers = [*schema.get("createOnlyProperties", []), *schema.get("conditionalCreateOnlyProperties", [])]
    return sorted(tuple(pointer.split("/")[2:]) for pointer in pointers)


def at(properties: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        properties = properties.get(key) if isinstance(properties, dict) else None
    return properties


def unalterable(assembly: Synthesis) -> dict[str, dict[str, Any]]:
    """Returns type and create-only properties of each stateful resource, by stack and logical id."""
    return {
        f"{stack}/{logical_id}": {
            "Type": resource["Type"],
            **{
                "/".join(path): value
                for path in create_only(resource["Type"])
                if (value := at(resource.get("Properties", {}), path)) is not None
            },
        }
        for stack, template in assembly.templates.items()
        for logical_id, resource in sorted(template["Resources"].items())
        if resource["Type"] in STATEFUL
    }


@pytest.fixture(scope="module")
def kept(assemblies: dict[str, Synthesis]) -> dict[str, dict[str, dict[str, Any]]]:
    if os.environ.get("KEEP_STATEFUL"):
        found = {name: unalterable(assemblies[name]) for name in DISTINCT}
        KEPT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    document: dict[str, dict[str, dict[str, Any]]] = json.loads(KEPT.read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("name", DISTINCT)
def test_what_holds_data_or_an_address_is_not_replaced_unseen(
    assemblies: dict[str, Synthesis], kept: dict[str, dict[str, dict[str, Any]]], name: str
) -> None:
    now = unalterable(assemblies[name])
    replaced = {key: (before, now.get(key)) for key, before in kept[name].items() if now.get(key) != before}
    assert replaced == {}, "an update of a deployment would replace or remove these; see the head of this file"
    assert now.keys() - kept[name].keys() == set(), "new, and not kept yet: see the head of this file"


def test_what_is_replaced_on_a_change_is_known_of_the_resources_that_matter() -> None:
    assert ("BucketName",) in create_only("AWS::S3::Bucket")
    assert ("QueueName",) in create_only("AWS::SQS::Queue")
    assert ("TopicName",) in create_only("AWS::SNS::Topic")
    assert ("Name",) in create_only("AWS::EKS::Cluster")
    assert ("CidrBlock",) in create_only("AWS::EC2::VPC")

"""Deployments in two regions, or of two names, take nothing from each other: no name is given twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from contract.config import load_config
from contract.topology import topology
from tests.cloud.synthesis import OTHERS, ROOT, Synthesis

ACCOUNT: Final = "123456789012"

OF_THE_ACCOUNT: Final = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::Budgets::Budget": "Budget.BudgetName",
    "AWS::CloudFront::OriginAccessControl": "OriginAccessControlConfig.Name",
    "AWS::CloudFront::CachePolicy": "CachePolicyConfig.Name",
    "AWS::CloudFront::ResponseHeadersPolicy": "ResponseHeadersPolicyConfig.Name",
    "AWS::CloudFront::Function": "Name",
}
"""What has one name for all regions of an account, or of the world, and where it stands."""

OF_THE_REGION: Final = OF_THE_ACCOUNT | {
    "AWS::SQS::Queue": "QueueName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::EKS::Cluster": "Name",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::CloudWatch::Alarm": "AlarmName",
    "AWS::CloudWatch::Dashboard": "DashboardName",
    "AWS::Events::Rule": "Name",
    "AWS::Lambda::Function": "FunctionName",
    "AWS::SecretsManager::Secret": "Name",
    "AWS::SSM::Parameter": "Name",
    "AWS::DataSync::Task": "Name",
}


@pytest.fixture(scope="module")
def folders(default: Synthesis) -> dict[str, Path]:
    """Assemblies of all settings: here, in another region, and under another name."""
    return {name: default.folder.with_name(name) for name in OTHERS}


def named(folder: Path, kinds: dict[str, str]) -> dict[tuple[str, str], str]:
    """Returns what gives itself a name, by type and name."""
    found: dict[tuple[str, str], str] = {}
    for path in folder.glob("*.template.json"):
        for logical_id, resource in json.loads(path.read_text(encoding="utf-8"))["Resources"].items():
            value: Any = resource.get("Properties", {})
            for key in kinds.get(resource["Type"], "").split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, str):
                found[resource["Type"], value] = logical_id
    return found


def test_a_second_region_takes_no_name_of_the_account(folders: dict[str, Path]) -> None:
    here, there = (named(folders[name], OF_THE_ACCOUNT) for name in ("here", "there"))
    assert {kind for kind, _ in here} >= {"AWS::S3::Bucket", "AWS::IAM::Role", "AWS::Budgets::Budget"}
    assert here.keys() & there.keys() == set()


def test_a_second_deployment_of_the_region_takes_no_name_of_the_first(folders: dict[str, Path]) -> None:
    first, second = (named(folders[name], OF_THE_REGION) for name in ("here", "beside"))
    assert len(first) > 20
    assert first.keys() & second.keys() == set()


def test_names_that_a_deployment_has_are_kept(tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump(document | {"cloud": {"outputBucket": f"darkroom-output-{ACCOUNT}", "nodeRole": "Mine"}})
    )
    config = load_config(tmp_path / "config.yaml")
    assert topology(config, region="us-west-2", account=ACCOUNT).output_bucket == f"darkroom-output-{ACCOUNT}"

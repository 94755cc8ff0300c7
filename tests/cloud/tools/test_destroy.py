"""A deployment goes whole, nodes first; its two buckets stay, and a failure can be gone on from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from cloud.deployment import removal
from cloud.image_cache.plan import STACK_TAG
from tests.cloud.tools.bottlerocket import AMI
from tests.cloud.tools.conftest import Run, client
from tests.cloud.tools.kubernetes_api import KubernetesApi, kubernetes_api
from tests.support.processes import http
from tests.support.proxy import FaultProxy

POOLS, CLAIMS = "/apis/karpenter.sh/v1/nodepools", "/apis/karpenter.sh/v1/nodeclaims"
CLASSES = "/apis/karpenter.k8s.aws/v1/ec2nodeclasses"
STACKS = ("blue-network", "blue-registry", "blue-messaging", "blue")

CONFIG = """
stackName: blue
modelBucketArn: arn:aws:s3:::blue-models
modelsRuntime: [{name: sdruntime, type: comfyui}]
"""


@dataclass
class Place:
    """An account with a deployment in it, a cluster, and the command line in front of them."""

    run: Run
    endpoint: str
    api: KubernetesApi
    config: Path
    snapshot: str

    def destroy(self, *arguments: str, endpoint: str = "", stdin: str | None = None) -> Result:
        return self.run(
            *("destroy", "--config", str(self.config), "--kubeconfig", str(self.api.kubeconfig), *arguments),
            stdin=stdin,
            AWS_ENDPOINT_URL=endpoint or self.endpoint,
        )

    def stacks(self) -> list[str]:
        found = client("cloudformation", self.endpoint).list_stacks()["StackSummaries"]
        return [item["StackName"] for item in found if item["StackStatus"] != "DELETE_COMPLETE"]

    def buckets(self) -> list[str]:
        return [item["Name"] for item in client("s3", self.endpoint).list_buckets()["Buckets"]]

    def snapshots(self) -> list[str]:
        filters = [{"Name": "tag-key", "Values": [STACK_TAG]}]
        found = client("ec2", self.endpoint).describe_snapshots(Filters=filters)["Snapshots"]
        return [item["SnapshotId"] for item in found]

    def nodes(self) -> list[str]:
        filters = [{"Name": "instance-state-name", "Values": ["running"]}]
        found = client("ec2", self.endpoint).describe_instances(Filters=filters)["Reservations"]
        return [item["InstanceId"] for reservation in found for item in reservation["Instances"]]


def make(endpoint: str) -> str:
    """Makes what a deployment consists of, in small; returns its snapshot."""
    formation, ec2, s3 = (client(name, endpoint) for name in ("cloudformation", "ec2", "s3"))
    for name in STACKS:
        resources: dict[str, Any] = {"Topic": {"Type": "AWS::SNS::Topic"}}
        if name == "blue-messaging":
            resources["Queue"] = {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "blue-sdruntime"}}
            resources["Output"] = {
                "Type": "AWS::S3::Bucket",
                "DeletionPolicy": "Retain",
                "Properties": {"BucketName": "blue-output-123456789012"},
            }
        formation.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources}))
    s3.create_bucket(Bucket="blue-models")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=20)["VolumeId"]
    tags = [{"Key": STACK_TAG, "Value": "blue"}]
    snapshot: str = ec2.create_snapshot(
        VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}]
    )["SnapshotId"]
    node = [
        {"Key": "kubernetes.io/cluster/blue", "Value": "owned"},
        {"Key": "karpenter.sh/nodepool", "Value": "sdruntime"},
    ]
    ec2.run_instances(
        ImageId=AMI, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": node}]
    )
    return snapshot


@pytest.fixture
def place(run: Run, moto: str, tmp_path: Path) -> Iterator[Place]:
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    with kubernetes_api(tmp_path) as api:
        api.lists = {kind: [{"metadata": {"name": "sdruntime"}}] for kind in (POOLS, CLASSES)} | {CLAIMS: []}
        yield Place(run, moto, api, config, make(moto))
    http().post(f"{moto}/moto-api/reset")


def test_all_goes_but_the_buckets_and_the_snapshot_and_that_is_said(place: Place) -> None:
    sample = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    client("cloudformation", place.endpoint).create_stack(StackName="blue-sample", TemplateBody=sample)
    client("sqs", place.endpoint).send_message(
        QueueUrl=client("sqs", place.endpoint).get_queue_url(QueueName="blue-sdruntime")["QueueUrl"], MessageBody="task"
    )
    result = place.destroy("--yes")
    assert result.exit_code == 0, result.output
    assert "loses 1 tasks" in result.output
    assert "deletes, in us-east-1: blue-sample, blue, " in result.output
    assert place.stacks() == []
    assert place.nodes() == []
    assert place.api.lists == {POOLS: [], CLAIMS: [], CLASSES: []}
    assert sorted(place.buckets()) == ["blue-models", "blue-output-123456789012"]
    assert "keeps the buckets blue-output-123456789012 and blue-models" in result.output
    assert place.snapshots() == [place.snapshot]
    assert f"keeps snapshots: {place.snapshot}" in result.output
    assert place.destroy("--yes").exit_code == 0, "once more changes nothing"


def test_snapshots_go_when_that_is_asked_for_and_a_cluster_out_of_reach_does_not_stop_it(place: Place) -> None:
    place.api.refuse = True
    result = place.destroy("--yes", "--delete-snapshots")
    assert result.exit_code == 0, result.output
    assert "not all of Karpenter's nodes are gone: the cluster refuses" in result.output
    # Their subnets cannot be deleted before.
    order = ["deleting blue ", "ending nodes that were left", "deleting blue-messaging ", "deleting blue-network "]
    assert sorted(order, key=result.output.index) == order
    assert place.snapshots() == []
    assert place.nodes() == []


def test_node_classes_go_after_the_last_node_and_one_that_stays_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_CLASSES_WITHIN", 1.0)
    # A pool takes its node with it; the class waits for ever for its instance profile.
    place.api.lists[CLAIMS] = [{"metadata": {"name": "sdruntime-abcde"}}]
    place.api.follow[f"{POOLS}/sdruntime"] = f"{CLAIMS}/sdruntime-abcde"
    place.api.finalized.add(f"{CLASSES}/sdruntime")
    result = place.destroy("--yes")
    assert result.exit_code == 0, result.output
    asked = place.api.asked
    assert asked.index(f"DELETE {POOLS}/sdruntime") < asked.index(f"GET {CLAIMS}")
    assert asked.index(f"GET {CLAIMS}") < asked.index(f"DELETE {CLASSES}/sdruntime")
    assert "the end of all EC2NodeClasses" in result.output
    assert "did not come within 1 seconds" in result.output
    assert place.stacks() == []


def test_no_means_no_and_a_dry_run_asks_nothing(place: Place) -> None:
    assert place.destroy(stdin="n\n").exit_code == 2
    dry = place.destroy("--dry-run")
    assert dry.exit_code == 0
    assert "deletes, in us-east-1: blue, blue-messaging, blue-registry, blue-network" in dry.output
    assert sorted(place.stacks()) == sorted(STACKS)


def test_after_a_failure_it_goes_on(place: Place) -> None:
    with FaultProxy(place.endpoint) as proxy:
        proxy.answer(lambda call: b"Action=DeleteStack" in call.body and b"blue-messaging" in call.body, status=400)
        broken = place.destroy("--yes", endpoint=proxy.url)
    assert broken.exit_code == 1
    assert "DeleteStack" in broken.output
    assert sorted(place.stacks()) == ["blue-messaging", "blue-network", "blue-registry"]
    assert place.destroy("--yes").exit_code == 0
    assert place.stacks() == []

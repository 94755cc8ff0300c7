"""What the stacks hand to the chart becomes objects that the cluster takes, on nodes and queues that are there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from cloud import helm, names
from contract.config import RuntimeConfig
from contract.topology import Topology, topology
from tests.cloud.chart.releases import environment
from tests.cloud.kubernetes_objects import faults
from tests.cloud.synthesis import ACCOUNT, CONFIGS, DISTINCT, Synthesis, plain


@dataclass(frozen=True)
class Release:
    """A runtime's release, rendered with the values that are in the template."""

    runtime: RuntimeConfig
    objects: list[dict[str, Any]]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [item for item in self.objects if item["kind"] == kind]


def releases(assembly: Synthesis) -> list[Release]:
    """The releases of our chart; one of another chart cannot be rendered here."""
    found = []
    for item in assembly.properties("Custom::AWSCDK-EKS-HelmChart"):
        runtime = assembly.config.runtime(item["Release"])
        if runtime is not None and "ChartAssetURL" in item:
            values = json.loads(plain(item["Values"]))
            found.append(Release(runtime, helm.render(values, release=item["Release"], namespace=item["Namespace"])))
    return found


@pytest.fixture(scope="module")
def rendered(default: Synthesis) -> list[Release]:
    return releases(default)


@pytest.fixture(scope="module")
def place(default: Synthesis) -> Topology:
    return topology(default.config, region=default.region, account=ACCOUNT)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_release_is_made_of_objects_that_the_cluster_takes(assemblies: dict[str, Synthesis], name: str) -> None:
    found = releases(assemblies[name])
    assert found
    assert [fault for release in found for item in release.objects for fault in faults(item)] == []


def test_pods_run_as_the_service_account_that_has_the_role(default: Synthesis, rendered: list[Release]) -> None:
    associated = {
        (item["Namespace"], item["ServiceAccount"]) for item in default.properties("AWS::EKS::PodIdentityAssociation")
    }
    assert [release.runtime for release in rendered] == list(default.config.runtimes)
    for release in rendered:
        (account,) = {item["metadata"]["name"] for item in release.of_kind("ServiceAccount")}
        pods = {item["spec"]["template"]["spec"]["serviceAccountName"] for item in release.of_kind("Deployment")}
        assert pods == {account}
        assert (release.runtime.namespace, account) in associated


def test_an_agent_takes_from_the_queue_that_its_autoscaler_watches(rendered: list[Release], place: Topology) -> None:
    for release in rendered:
        (deployment,), (scaled,) = release.of_kind("Deployment"), release.of_kind("ScaledObject")
        read = environment(deployment["spec"]["template"]["spec"]["containers"][0])
        (trigger,) = scaled["spec"]["triggers"]
        assert read["SQS_QUEUE_URL"] == trigger["metadata"]["queueURL"]
        assert read["SQS_QUEUE_URL"].endswith(f"/{place.queue(release.runtime.name).name}")
        assert read["SNS_TOPIC_ARN"] == place.callback_topic_arn
        assert read["S3_BUCKET"] == place.output_bucket
        assert (read["RUNTIME_NAME"], read["RUNTIME_TYPE"]) == (release.runtime.name, release.runtime.type)


def test_an_agent_takes_inputs_from_the_buckets_that_it_may_read(
    everything: Synthesis, rendered: list[Release]
) -> None:
    def read(release: Release) -> dict[str, Any]:
        (deployment,) = release.of_kind("Deployment")
        return environment(deployment["spec"]["template"]["spec"]["containers"][0])

    found = releases(everything)
    assert found
    assert {read(release)["INPUT_S3_BUCKETS"] for release in found} == {",".join(everything.config.cloud.input_buckets)}
    assert not [release for release in rendered if "INPUT_S3_BUCKETS" in read(release)]


def test_keda_watches_the_queue_that_it_may_read(rendered: list[Release], place: Topology) -> None:
    watched = {
        trigger["metadata"]["queueURL"]
        for release in rendered
        for item in release.of_kind("ScaledObject")
        for trigger in item["spec"]["triggers"]
    }
    assert watched == {names.queue_url(place, queue.name) for queue in place.queues}


def test_nodes_have_the_role_that_the_cluster_lets_in_and_guarded_metadata(
    default: Synthesis, rendered: list[Release]
) -> None:
    roles = {item.get("RoleName") for item in default.properties("AWS::IAM::Role")}
    classes = [item["spec"] for release in rendered for item in release.of_kind("EC2NodeClass")]
    assert len(classes) == len(default.config.runtimes)
    for node_class in classes:
        assert node_class["role"] in roles
        assert node_class["metadataOptions"]["httpTokens"] == "required"
        assert node_class["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert all(mapping["ebs"]["encrypted"] for mapping in node_class["blockDeviceMappings"])


def test_node_classes_find_the_private_subnets_by_their_tag(default: Synthesis, rendered: list[Release]) -> None:
    (tags,) = {
        json.dumps([term["tags"] for term in item["spec"]["subnetSelectorTerms"]])
        for release in rendered
        for item in release.of_kind("EC2NodeClass")
    }
    (wanted,) = json.loads(tags)
    subnets = [
        {tag["Key"]: tag["Value"] for tag in subnet["Tags"]} for subnet in default.properties("AWS::EC2::Subnet")
    ]
    found = [subnet for subnet in subnets if wanted.items() <= subnet.items()]
    assert len(found) == 3
    assert {subnet["aws-cdk:subnet-type"] for subnet in found} == {"Private"}


@pytest.mark.parametrize("name", DISTINCT)
def test_traces_go_to_the_collector_that_is_there(assemblies: dict[str, Synthesis], name: str) -> None:
    assembly = assemblies[name]
    (service,) = [
        item
        for item in assembly.kubernetes_objects()
        if item["kind"] == "Service" and item["metadata"]["name"] == "traces"
    ]
    (port,) = service["spec"]["ports"]
    endpoint = f"http://traces.{service['metadata']['namespace']}:{port['port']}"
    told = [
        variable["value"]
        for release in releases(assembly)
        for item in release.of_kind("Deployment")
        for container in item["spec"]["template"]["spec"]["containers"]
        for variable in container.get("env", [])
        if variable["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"
    ]
    assert told
    assert set(told) == {endpoint}


def test_models_on_a_file_system_are_claimed_from_its_storage_class(everything: Synthesis) -> None:
    (storage_class,) = [item for item in everything.kubernetes_objects() if item["kind"] == "StorageClass"]
    claims = [item for release in releases(everything) for item in release.of_kind("PersistentVolumeClaim")]
    assert claims
    assert {claim["spec"]["storageClassName"] for claim in claims} == {storage_class["metadata"]["name"]}

"""What the stacks hand to Helm is what the chart takes, for the identities and queues that the stacks make."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloud import helm
from contract.topology import topology
from tests.cloud.chart.releases import Release, environment
from tests.cloud.kubernetes_objects import faults
from tests.cloud.synthesis import ACCOUNT, Synthesis, plain


def releases(assembly: Synthesis) -> dict[str, Release]:
    """Returns what the cluster gets for each runtime that our chart releases, rendered from the template's values."""
    found = {}
    for item in assembly.properties("Custom::AWSCDK-EKS-HelmChart"):
        if item["Release"] in {runtime.name for runtime in assembly.config.runtimes} and "ChartAssetURL" in item:
            values: dict[str, Any] = json.loads(plain(item["Values"]))
            name, namespace = item["Release"], item["Namespace"]
            found[name] = Release(helm.render(values, release=name, namespace=namespace))
    return found


@pytest.fixture(scope="module")
def made(default: Synthesis) -> dict[str, Release]:
    return releases(default)


def test_a_cluster_takes_every_object_of_every_release(made: dict[str, Release], default: Synthesis) -> None:
    assert set(made) == {runtime.name for runtime in default.config.runtimes}
    for release in made.values():
        assert [fault for item in release.objects for fault in faults(item)] == []


def test_pods_run_as_the_identity_that_may_reach_their_queue(made: dict[str, Release], default: Synthesis) -> None:
    identities = {
        (item["Namespace"], item["ServiceAccount"]) for item in default.properties("AWS::EKS::PodIdentityAssociation")
    }
    for runtime in default.config.runtimes:
        account = made[runtime.name].pod(runtime.name)["serviceAccountName"]
        assert set(made[runtime.name].all("ServiceAccount")) == {account}
        assert (runtime.namespace, account) in identities


def test_agent_and_autoscaler_look_at_the_runtimes_own_queue(made: dict[str, Release], default: Synthesis) -> None:
    place = topology(default.config, region=default.region, account=ACCOUNT)
    for runtime in default.config.runtimes:
        release = made[runtime.name]
        read = environment(release.pod(runtime.name)["containers"][0])
        [trigger] = release.one("ScaledObject", runtime.name)["spec"]["triggers"]
        assert read["SQS_QUEUE_URL"] == trigger["metadata"]["queueURL"]
        assert read["SQS_QUEUE_URL"].endswith(f"/{place.queue(runtime.name).name}")
        assert read["SNS_TOPIC_ARN"] == place.callback_topic_arn
        assert read["S3_BUCKET"] == place.output_bucket
        assert (read["RUNTIME_NAME"], read["RUNTIME_TYPE"]) == (runtime.name, runtime.type)


def test_nodes_take_the_role_that_karpenter_may_pass(made: dict[str, Release], default: Synthesis) -> None:
    roles = {plain(item["RoleName"]) for item in default.properties("AWS::IAM::Role") if "RoleName" in item}
    for name, release in made.items():
        assert release.one("EC2NodeClass", name)["spec"]["role"] in roles

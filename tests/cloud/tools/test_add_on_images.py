"""What every GPU node pulls besides a runtime's images is in the snapshot too."""

from __future__ import annotations

from typing import Any

import pytest

from cloud.image_cache.add_ons import images_on_each_node, instance_types
from contract.config import load_config
from tests.cloud.synthesis import ROOT

REGISTRY = "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks"
EVERYWHERE = [{"operator": "Exists"}]


def daemon(image: str, **pod: Any) -> dict[str, Any]:
    """A DaemonSet (apps/v1, as JSON) of one container, on every node unless its pod says other things."""
    spec = {"containers": [{"name": "it", "image": image}], "tolerations": EVERYWHERE, **pod}
    return {"spec": {"template": {"spec": spec}}}


def required(key: str, operator: str, *values: str) -> dict[str, Any]:
    rule = {"key": key, "operator": operator, "values": list(values)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def found(*daemons: dict[str, Any], deployments: tuple[dict[str, Any], ...] = ()) -> list[str]:
    types = frozenset({"g6.xlarge", "g5.xlarge"})
    return [item.reference for item in images_on_each_node(daemons, deployments, instance_types=types)]


def test_images_are_taken_under_the_names_that_pods_have_init_containers_too() -> None:
    network = daemon(
        f"{REGISTRY}/amazon-k8s-cni:v1.20.4-eksbuild.1",
        initContainers=[{"name": "init", "image": f"{REGISTRY}/amazon-k8s-cni-init:v1.20.4-eksbuild.1"}],
    )
    assert found(network, network) == [
        f"{REGISTRY}/amazon-k8s-cni-init:v1.20.4-eksbuild.1",
        f"{REGISTRY}/amazon-k8s-cni:v1.20.4-eksbuild.1",
    ]


@pytest.mark.parametrize(
    ("pod", "comes"),
    [
        ({}, True),
        ({"tolerations": []}, False),
        ({"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}, False),
        ({"tolerations": [{"key": key, "operator": "Exists"} for key in ("nvidia.com/gpu", "runtime")]}, True),
        ({"nodeSelector": {"kubernetes.io/os": "windows"}}, False),
        ({"nodeSelector": {"kubernetes.io/os": "linux"}}, True),
        ({"affinity": required("kubernetes.io/arch", "In", "amd64", "arm64")}, True),
        ({"affinity": required("eks.amazonaws.com/compute-type", "NotIn", "fargate", "auto")}, True),
        ({"affinity": required("node.kubernetes.io/instance-type", "In", "g6.xlarge", "p5.48xlarge")}, True),
        ({"affinity": required("node.kubernetes.io/instance-type", "In", "trn1.2xlarge")}, False),
        ({"affinity": required("eks.amazonaws.com/hybrid", "Exists")}, False),
        ({"affinity": required("eks.amazonaws.com/hybrid", "DoesNotExist")}, True),
    ],
)
def test_only_what_comes_to_a_gpu_node_is_pulled(pod: dict[str, Any], comes: bool) -> None:
    assert bool(found(daemon(f"{REGISTRY}/it:v1", **pod))) == comes


def test_the_pods_that_mount_buckets_are_started_by_the_driver_and_counted() -> None:
    environment = [
        {"name": "MOUNTPOINT_IMAGE", "value": f"{REGISTRY}/mount-s3:v2"},
        {"name": "LOG_LEVEL", "value": "1"},
    ]
    controller = daemon(f"{REGISTRY}/controller:v2")
    controller["spec"]["template"]["spec"]["containers"][0]["env"] = environment
    assert found(deployments=(controller,)) == [f"{REGISTRY}/mount-s3:v2"]


def test_what_names_no_registry_is_left_out() -> None:
    assert found(daemon("busybox")) == []


def test_the_types_of_all_runtimes_count() -> None:
    assert "g6.xlarge" in instance_types(load_config(ROOT / "config.yaml"))

"""Renders releases of the chart as the stacks would make them, each once per test process."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import Any, Final

from cloud import helm
from cloud.chart_values import Placement, release_values
from contract.config import Config, RuntimeConfig, parse_config

PLACEMENT: Final = Placement(
    region="us-west-2",
    cluster_name="darkroom",
    queue_url="https://sqs.us-west-2.amazonaws.com/123456789012/darkroom-sdruntime",
    dead_letter_url="https://sqs.us-west-2.amazonaws.com/123456789012/darkroom-sdruntime-dlq",
    callback_topic_arn="arn:aws:sns:us-west-2:123456789012:darkroom-callbacks",
    output_bucket="darkroom-output-123456789012",
    agent_image=f"123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom/agent@sha256:{'a' * 64}",
    runtime_image=f"123456789012.dkr.ecr.us-west-2.amazonaws.com/darkroom/sdwebui@sha256:{'b' * 64}",
    node_role="KarpenterNodeRole-darkroom",
    model_bucket="darkroom-models",
)


COMPLETE: Final[dict[str, Any]] = {
    "global": {"awsEndpoint": "http://localstack.default:4566"},
    "karpenter": {
        "nodeTemplate": {"imageCache": "soci", "userData": "[settings.kernel]\nlockdown = 'integrity'\n"},
        "provisioner": {"labels": {"team": "images"}, "onDemandResourceLimits": {"nvidia.com/gpu": 2}},
    },
    "runtime": {
        "labels": {"team": "images"},
        "canary": {"percent": 20, "inferenceApi": {"image": {"tag": "v2"}}},
        "headroom": {"replicas": 2},
        "scaling": {
            "fallback": {"replicas": 3},
            "extraHPAConfig": {"scaleUp": {"tolerance": 0.05}, "scaleDown": {"stabilizationWindowSeconds": 60}},
        },
        "queueAgent": {
            "recycle": {"afterTasks": 100, "aboveRssBytes": 12 * 2**30},
            "warmUp": {"tasktype": "text-to-image", "content": {"prompt": 'a "quoted" cat'}},
        },
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
"""Values with all that is optional."""


def config_with(extra_values: dict[str, Any], **runtime: Any) -> Config:
    """Returns a config of one runtime, `sdruntime`."""
    described = {"name": "sdruntime", "type": "sdwebui", **runtime, "extraValues": extra_values}
    return parse_config(json.dumps({"modelBucketArn": "arn:aws:s3:::darkroom-models", "modelsRuntime": [described]}))


def values_with(
    extra_values: dict[str, Any], *, placed: dict[str, Any] | None = None, **runtime: Any
) -> dict[str, Any]:
    """Returns the values of that runtime's release.

    Raises:
        ChartValuesError: the chart does not take them.
    """
    config = config_with(extra_values, **runtime)
    return release_values(config, config.runtimes[0], replace(PLACEMENT, **(placed or {})))


class Release:
    """What the chart makes of values."""

    def __init__(self, objects: list[dict[str, Any]]) -> None:
        self.objects = objects

    def all(self, kind: str) -> dict[str, dict[str, Any]]:
        """Returns the objects of a kind by name."""
        return {item["metadata"]["name"]: item for item in self.objects if item["kind"] == kind}

    def one(self, kind: str, name: str = "sdruntime") -> dict[str, Any]:
        """Returns the object of a kind and name."""
        return self.all(kind)[name]

    def pod(self, name: str = "sdruntime") -> dict[str, Any]:
        """Returns the pod's spec of a Deployment."""
        spec: dict[str, Any] = self.one("Deployment", name)["spec"]["template"]["spec"]
        return spec


def released(extra_values: dict[str, Any] | None = None, **options: Any) -> Release:
    """Returns the release of `sdruntime` with these `extraValues`."""
    return Release(rendered(json.dumps(values_with(extra_values or {}, **options), sort_keys=True)))


def of_runtime(config: Config, runtime: RuntimeConfig) -> Release:
    """Returns the release of a config's runtime."""
    values = release_values(config, runtime, PLACEMENT)
    return Release(helm.render(values, release=runtime.name, namespace=runtime.namespace))


@functools.cache
def rendered(values: str) -> list[dict[str, Any]]:
    """Renders values (as JSON) under the name `sdruntime`."""
    return helm.render(json.loads(values), release="sdruntime")


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """Returns the environment of a container: a value, or where it comes from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}

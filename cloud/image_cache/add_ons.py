"""Finds the images that every GPU node pulls besides a runtime's: network, storage, logs and metrics of the add-ons.

They are in the snapshot under the very names that their pods have, which only a cluster that exists can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from cloud import names
from cloud.aws import Aws, ToolError, describe
from cloud.chart_values import values_in_force
from cloud.image_cache.plan import Image, parse_image
from cloud.kubernetes_access import TIMEOUT, api_client, kubeconfig, plain_cluster_errors
from cloud.reporter import Reporter
from contract.config import Config

type Object = Mapping[str, Any]

_STARTS_PODS: Final = "s3-csi-controller"
"""The Deployment that starts a pod beside each that mounts a bucket; its environment names their images."""


def add_on_images(aws: Aws, config: Config, report: Reporter) -> list[Image]:
    """Returns the images that a cluster's add-ons run on each GPU node; none while there is no cluster to ask."""
    try:
        with kubeconfig(aws, names.main_stack(config), None) as path, plain_cluster_errors():
            from kubernetes.client import AppsV1Api  # noqa: PLC0415 - see api_client

            client = api_client(path)
            apps, plain = AppsV1Api(client), client.sanitize_for_serialization
            daemons = apps.list_daemon_set_for_all_namespaces(_request_timeout=TIMEOUT)
            deployments = apps.list_namespaced_deployment(
                "kube-system", field_selector=f"metadata.name={_STARTS_PODS}", _request_timeout=TIMEOUT
            )
    except (ToolError, BotoCoreError, ClientError) as error:
        report.detail(f"without the images of add-ons, which only the cluster tells: {describe(error)}")
        return []
    return images_on_each_node(
        (plain(item) for item in daemons.items),
        (plain(item) for item in deployments.items),
        instance_types=instance_types(config),
    )


def instance_types(config: Config) -> frozenset[str]:
    """Returns the types of instance that any runtime may run on."""
    found: set[str] = set()
    for runtime in config.runtimes:
        values = values_in_force(runtime)
        found |= set(values["karpenter"]["provisioner"]["instanceType"])
    return frozenset(found)


def images_on_each_node(
    daemons: Iterable[Object], deployments: Iterable[Object], *, instance_types: frozenset[str]
) -> list[Image]:
    """Returns the images of the pods that come to GPU nodes by themselves, each once, in the order of their names.

    Args:
        daemons: DaemonSets (apps/v1, as JSON).
        deployments: those whose environment names images that they start.
        instance_types: of GPU nodes.
    """
    labels = {"kubernetes.io/os": {"linux"}, "kubernetes.io/arch": {"amd64"}}
    labels["node.kubernetes.io/instance-type"] = set(instance_types)
    references = {
        str(container["image"])
        for daemon in daemons
        if _comes(daemon["spec"]["template"]["spec"], labels)
        for container in _containers(daemon)
    }
    references |= {
        str(variable["value"])
        for deployment in deployments
        for container in _containers(deployment)
        for variable in container.get("env") or []
        if variable["name"].endswith("_IMAGE") and variable.get("value")
    }
    return [image for reference in sorted(references) for image in _readable(reference)]


def _containers(workload: Object) -> list[Object]:
    pod = workload["spec"]["template"]["spec"]
    return [*(pod.get("initContainers") or []), *pod["containers"]]


def _readable(reference: str) -> Iterator[Image]:
    try:
        yield parse_image(reference)
    except ToolError:  # without a registry: nobody could say which it is
        return


def _comes(pod: Object, labels: Mapping[str, set[str]]) -> bool:
    """Tells whether a pod may run on a node with these labels and the taints of a runtime's nodes."""
    tolerations = pod.get("tolerations") or []
    if not all(any(_tolerates(item, key) for item in tolerations) for key in ("nvidia.com/gpu", "runtime")):
        return False
    chosen = pod.get("nodeSelector") or {}
    if any(value not in labels.get(key, {value}) for key, value in chosen.items()):
        return False
    affinity = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    terms = required["nodeSelectorTerms"]
    return any(all(_matches(rule, labels) for rule in term.get("matchExpressions") or []) for term in terms)


def _tolerates(toleration: Object, key: str) -> bool:
    return toleration.get("operator") == "Exists" and toleration.get("key", key) in {key, ""}


def _matches(rule: Object, labels: Mapping[str, set[str]]) -> bool:
    """Tells whether a node may fit a rule (core/v1, NodeSelectorRequirement); of labels unknown here it has none."""
    found, values = labels.get(rule["key"], set()), set(rule.get("values") or [])
    match rule["operator"]:
        case "In":
            return bool(found & values)
        case "NotIn":
            return not found or bool(found - values)
        case "DoesNotExist":
            return not found
        case _:
            return bool(found)

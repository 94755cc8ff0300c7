"""Says how a cluster stands, and what KEDA does not scale, in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cluster.kubectl import Access
from contract.config import Config, RuntimeConfig


async def summary(access: Access, config: Config) -> list[str]:
    """Returns a line for the nodes, and one for each runtime.

    Raises:
        ClusterError: the cluster does not answer.
    """
    nodes = await access.items("nodes")
    pods = await access.items("pods", "--all-namespaces", "--selector=app.kubernetes.io/component=runtime")
    scalers = await access.items("horizontalpodautoscalers", "--all-namespaces")
    ready = sum(condition(item, "Ready") for item in nodes)
    lines = [f"{len(nodes)} nodes, {ready} of them ready"]
    for runtime in config.runtimes:
        own = [item for item in pods if _is_of(runtime, item)]
        wanted = sum(
            item.get("status", {}).get("desiredReplicas", 0)
            for item in scalers
            if item["spec"]["scaleTargetRef"]["name"] in {runtime.name, f"{runtime.name}-canary"}
            and item["metadata"]["namespace"] == runtime.namespace
        )
        states = Counter(state_of(item) for item in own)
        said = ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "no pod"
        lines.append(f"{runtime.name}: {said}; the autoscaler wants {wanted}")
    return lines


async def unscaled(access: Access, config: Config) -> list[str]:
    """Returns a line for each runtime that KEDA does not scale, with KEDA's words.

    Raises:
        ClusterError: the cluster does not answer.
    """
    scaled = await access.items("scaledobjects.keda.sh", "--all-namespaces")
    lines = []
    for runtime in config.runtimes:
        items = [item for item in scaled if _is_of(runtime, item)]
        conditions = [each for item in items for each in item.get("status", {}).get("conditions") or ()]
        ready = [each for each in conditions if each["type"] == "Ready"]
        if len(ready) < max(1, len(items)) or any(each["status"] != "True" for each in ready):
            words = [each.get("message") or each.get("reason", "") for each in ready if each["status"] != "True"]
            lines.append(f"{runtime.name}: KEDA does not scale it: {words[0] if words else 'it has not looked yet'}")
    return lines


def _is_of(runtime: RuntimeConfig, item: Mapping[str, Any]) -> bool:
    """Tells whether an object is one of a runtime's release: another namespace may have a release of the same name."""
    metadata = item["metadata"]
    release = metadata.get("labels", {}).get("app.kubernetes.io/instance")
    return (metadata["namespace"], release) == (runtime.namespace, runtime.name)


def state_of(pod: Mapping[str, Any]) -> str:
    """Returns where a pod is in its life."""
    if "deletionTimestamp" in pod["metadata"]:
        return "draining"
    if condition(pod, "Ready"):
        return "ready"
    return "starting" if pod["spec"].get("nodeName") else "pending"


def condition(item: Mapping[str, Any], kind: str) -> bool:
    """Tells whether an object's condition is `True`."""
    conditions = item.get("status", {}).get("conditions") or ()
    return any((each["type"], each["status"]) == (kind, "True") for each in conditions)

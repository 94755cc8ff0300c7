"""Says how a cluster stands, in a few lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cluster.kubectl import Access
from contract.config import Config


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
        own = [item for item in pods if item["metadata"]["labels"].get("app.kubernetes.io/instance") == runtime.name]
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

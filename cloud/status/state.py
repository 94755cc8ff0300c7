"""What there is to know of a deployment's runtimes, and how it is shown; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.table import Column, Table
from rich.text import Text


@dataclass(frozen=True)
class QueueDepth:
    """Messages of a queue, approximately, as SQS counts them."""

    waiting: int
    in_flight: int
    delayed: int


@dataclass(frozen=True)
class Replicas:
    """Pods of one runtime."""

    ready: int = 0
    wanted: int = 0
    canary_ready: int = 0
    canary_wanted: int = 0


@dataclass(frozen=True)
class Nodes:
    """GPU nodes of one runtime."""

    spot: int = 0
    on_demand: int = 0
    instance_types: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Cluster:
    """What Kubernetes says; `trouble` is why it says nothing."""

    replicas: Mapping[str, Replicas] = field(default_factory=dict)
    nodes: Mapping[str, Nodes] = field(default_factory=dict)
    unscaled: Mapping[str, str] = field(default_factory=dict)
    """Why KEDA does not scale a runtime, by its name."""
    trouble: str = ""


@dataclass(frozen=True)
class RuntimeState:
    """One row."""

    name: str
    type: str
    queue: QueueDepth | None
    """None: there is no such queue."""
    dead_letters: int | None


def replicas_of(deployments: Iterable[Mapping[str, Any]]) -> dict[str, Replicas]:
    """Returns the replicas by runtime, of the Deployments that the chart makes (apps/v1, as JSON)."""
    found: dict[str, Replicas] = {}
    for item in deployments:
        labels, status = item["metadata"].get("labels", {}), item.get("status", {})
        name, wanted = labels.get("app.kubernetes.io/instance", ""), item["spec"].get("replicas", 1)
        ready, before = status.get("readyReplicas", 0), found.get(name, Replicas())
        if labels.get("darkroom/track") == "canary":
            found[name] = Replicas(before.ready, before.wanted, ready, wanted)
        else:
            found[name] = Replicas(ready, wanted, before.canary_ready, before.canary_wanted)
    return found


def unscaled_of(scaled_objects: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Returns why runtimes are not scaled, by name, as their ScaledObjects say (keda.sh/v1alpha1, as JSON)."""
    found: dict[str, str] = {}
    for item in scaled_objects:
        conditions = {each["type"]: each for each in item.get("status", {}).get("conditions") or ()}
        ready, fallback = conditions.get("Ready", {}), conditions.get("Fallback", {})
        name = item["metadata"].get("labels", {}).get("app.kubernetes.io/instance", "")
        if ready.get("status") == "False":
            found[name] = (
                f"KEDA does not scale it: {ready.get('message') or ready.get('reason') or 'it does not say why'}"
            )
        elif fallback.get("status") == "True":
            found[name] = "KEDA cannot read its queue, and keeps the replicas of the fallback"
    return found


def nodes_of(nodes: Iterable[Mapping[str, Any]]) -> dict[str, Nodes]:
    """Returns the nodes by runtime, which the taint `runtime` of their NodePool names (v1, as JSON)."""
    found: dict[str, Nodes] = {}
    for item in nodes:
        labels = item["metadata"].get("labels", {})
        taints = item.get("spec", {}).get("taints") or []
        name = next((taint.get("value", "") for taint in taints if taint["key"] == "runtime"), "")
        if not name:
            continue
        before, spot = found.get(name, Nodes()), labels.get("karpenter.sh/capacity-type") == "spot"
        found[name] = Nodes(
            before.spot + spot,
            before.on_demand + (not spot),
            before.instance_types | {labels.get("node.kubernetes.io/instance-type", "?")},
        )
    return found


def table(runtimes: Iterable[RuntimeState], cluster: Cluster) -> Table:
    """Returns a row for each runtime; `-` is what nobody could tell."""
    # Narrow, and a runtime's name is not to be cut, so that all of it fits into 80 columns.
    name = Column("runtime", no_wrap=True, overflow="fold")
    nodes_column = Column("nodes", overflow="fold")
    counts = ("waiting", "in flight", "dead letters")
    shown = Table(name, "type", "pods", "canary", nodes_column, *counts, padding=(0, 1, 0, 0))
    for item in runtimes:
        pods, nodes = cluster.replicas.get(item.name), cluster.nodes.get(item.name)
        queue = item.queue
        dead = Text("-" if item.dead_letters is None else str(item.dead_letters), "red" if item.dead_letters else "")
        shown.add_row(
            Text(item.name),
            item.type,
            f"{pods.ready}/{pods.wanted}" if pods else "-",
            f"{pods.canary_ready}/{pods.canary_wanted}" if pods and pods.canary_wanted else "-",
            _nodes(nodes) if not cluster.trouble else "-",
            str(queue.waiting + queue.delayed) if queue else "no queue",
            str(queue.in_flight) if queue else "-",
            dead,
        )
    return shown


def told_undelivered(count: int) -> str:
    """Returns what is said of tasks that SNS could not deliver."""
    return (
        f"{count} {'task' if count == 1 else 'tasks'} could not be delivered by SNS: the API tries again, and fails "
        "them when there is no queue for hours"
    )


def _nodes(nodes: Nodes | None) -> str:
    if nodes is None:
        return "0"
    parts = [f"{count} {kind}" for count, kind in ((nodes.spot, "spot"), (nodes.on_demand, "on demand")) if count]
    return f"{', '.join(parts)} ({', '.join(sorted(nodes.instance_types))})"

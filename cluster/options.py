"""What can be chosen about a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Provider(StrEnum):
    """Where the cluster comes from."""

    PROCESSES = "processes"
    """A control plane of processes, and nodes whose pods are processes: Linux and Go, nothing else."""
    KIND = "kind"
    """Kubernetes in Docker."""
    CONTEXT = "context"
    """A cluster that is there already."""


@dataclass(frozen=True)
class ClusterOptions:
    """The choices of one `up`."""

    config: Path
    provider: Provider
    context: str = ""
    """Of kubeconfig, for a cluster that is there."""
    nodes: int = 8
    """With one GPU each; of processes alone."""
    latency: float = 1.0
    seconds_per_task: float | None = None
    port_base: int | None = None
    host_address: str = ""
    """An address of this machine that pods of a cluster that is there reach."""

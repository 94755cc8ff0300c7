"""What is planned for: the work, the nodes, and their defaults with their sources."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contract.prices import Capacity
from loadtest.planner.asking import Delivery


class ImageCache(StrEnum):
    """How a fresh node gets the container images."""

    SNAPSHOT = "snapshot"
    """They are on its data volume already, from an EBS snapshot."""
    SOCI = "soci"
    """Parallel pull and unpack."""
    NONE = "none"
    """A plain pull."""


IMAGE_SECONDS: Final = {ImageCache.SNAPSHOT: 68.0, ImageCache.SOCI: 120.0, ImageCache.NONE: 300.0}
"""For 15 to 20 GB of images. Plain: 4 to 6 minutes (AWS ML blog, 2026-06); SOCI: up to 60 % less (AWS); snapshot:
nothing to pull, but blocks that come from S3, 20 GiB at the 300 MiB/s of the `volumeInitializationRate` (from the
node's start on: an upper bound). Measure yours: these dominate a cold start."""


LEAD: Final = 1.5
"""Seconds before a run's end at which an agent receives what it holds ahead: `agent.pace.LEAD`."""


@dataclass(frozen=True)
class Work:
    """What a task takes."""

    seconds: float = 1.5
    """Of the GPU, on average; the reference's mean image (512×512, 16 steps, g5)."""
    spread: float = 0.0
    """Coefficient of variation of a lognormal distribution; 0: each takes the same."""
    gap: float = 0.0
    """Seconds between two runs on a GPU where one alone may be at the runtime: it encodes its answer, and the next
    request is sent. docs/bench.md has some; more slots hide it."""
    slots: int = 1
    """Runs that an agent has at its runtime at once (`SLOTS`): one on the GPU, the others wait there."""
    prefetch: int = 1
    """Tasks that an agent holds besides those (`PREFETCH`)."""
    lead: float = LEAD
    """Seconds before the end of the run on the GPU from which on an agent holds any of these, the run apart."""
    grace_seconds: float = 90.0
    """A running task may take so long after SIGTERM: `gracePeriodSeconds` in the chart's values."""

    @property
    def ahead(self) -> int:
        """Tasks that an agent holds besides the one on the GPU; of those that are longer than the lead one at most."""
        most = self.slots - 1 + self.prefetch
        return most if self.seconds <= self.lead else min(1, most)

    @property
    def at_runtime(self) -> int:
        """Runs that are at the runtime at once: with one ahead no more than two."""
        return min(self.slots, 1 + self.ahead)


@dataclass(frozen=True)
class Nodes:
    """How GPU nodes come and go; each has one GPU."""

    instance: str = "g6.2xlarge"
    capacity: Capacity = Capacity.SPOT
    batch_idle: float = 1.0
    """Karpenter's `BATCH_IDLE_DURATION`: it decides when no further pod has come for so long …"""
    batch_max: float = 10.0
    """… but at the latest after `BATCH_MAX_DURATION`."""
    node_seconds: float = 45.0
    """From Karpenter's decision until the node takes pods: EC2's start, Bottlerocket's boot and registration (30 s)."""
    image_seconds: float = IMAGE_SECONDS[ImageCache.SNAPSHOT]
    start_seconds: float = 12.0
    """Of the runtime's process: 10 to 15 s for ComfyUI."""
    model_seconds: float = 5.0
    """A 7 GB checkpoint without mmap, and its way to the GPU."""
    spread: float = 0.2
    """Coefficient of variation of each of these times."""
    consolidate_after: float = 120.0
    """An empty node is kept so long: `consolidateAfter` in the chart's values."""
    volume_gib: float = 90.0
    """Of each node: Bottlerocket's two gp3 volumes, as in the chart's values …"""
    volume_iops: float = 1000.0
    """… of which so many I/O operations per second are charged for, …"""
    volume_throughput: float = 875.0
    """… and so many MiB per second."""
    interruptions_per_hour: float = 0.001
    """Of each Spot node. An assumption: half of all nodes that run for a month (EC2's Spot advisor calls more than a
    fifth its worst class)."""


@dataclass(frozen=True)
class Run:
    """Everything of one simulation besides the arrivals and the scaling settings."""

    work: Work = Work()
    nodes: Nodes = Nodes()
    delivery: Delivery = Delivery.OLDEST
    fair: bool = False
    """Whether the queue is fair; the arrivals are then `loadtest.planner.arrivals.Tagged`."""
    sync_period: float = 15.0
    """Seconds between the HPA's decisions."""
    seed: int = 1

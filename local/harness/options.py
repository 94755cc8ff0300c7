"""What can be chosen about `up`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local.emulators.kinds import LOCALSTACK, Kind
from local.harness.replicas import StartDelays


@dataclass(frozen=True)
class Autoscaling:
    """How replicas come and go, besides the `scaling` settings of config.yaml."""

    delays: StartDelays
    sync_period: float
    """Seconds between the HPA's decisions."""


@dataclass(frozen=True)
class Options:
    """The choices of one `up`."""

    config: Path
    state: Path
    """Where the state file goes: addresses and process ids, for clients and tests."""
    replicas: int = 1
    """Agents with a fake runtime each, per runtime; with autoscaling the most that there may be."""
    autoscaling: Autoscaling | None = None
    """None: always so many replicas."""
    latency: float = 1.0
    """Factor on the fake runtimes' modelled times; 0 answers at once."""
    seconds_per_task: float | None = None
    """When set, each task takes exactly this long."""
    port_base: int | None = None
    """All ports count from here; None takes the usual ones."""
    endpoint: str | None = None
    """The URL of an emulator that already runs; None starts one."""
    emulator: Kind = LOCALSTACK
    """The one that is started."""
    real: Mapping[str, str] = field(default_factory=dict)
    """Runtimes that have a real server: its address by the runtime's name. No fake one is started for them."""
    keep: bool = False
    """Whether the emulator's objects and messages outlive it, in a file."""
    start_timeout: float = 90.0
    """Seconds until all must be ready."""

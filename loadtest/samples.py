"""What the observer writes down each second: one line of JSON in one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Depth(BaseModel):
    """Messages of one runtime's queue, as SQS counts them (approximately)."""

    model_config = ConfigDict(frozen=True)

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0

    @property
    def total(self) -> int:
        """What KEDA counts by default."""
        return self.visible + self.in_flight


class Replicas(BaseModel):
    """One runtime's replicas by state."""

    model_config = ConfigDict(frozen=True)

    ready: int = 0
    starting: int = 0
    draining: int = 0
    wanted: int | None = None
    """What the scaler asks for, where that can be seen."""

    @property
    def kept(self) -> int:
        """Those that are there to stay: draining ones have been scaled in already."""
        return self.ready + self.starting


class Start(BaseModel):
    """How a pod came to serve: seconds since it was made, by the cluster's clock, which counts whole ones."""

    model_config = ConfigDict(frozen=True)

    scheduled: float
    """It had a node."""
    started: float
    """Its images were there, and the runtime's container ran."""
    up: float
    """The runtime answered."""
    ready: float
    """The agent took tasks."""

    @property
    def steps(self) -> dict[str, float]:
        """The seconds of each step, in order."""
        return {
            "pending → scheduled": self.scheduled,
            "scheduled → runtime started": self.started - self.scheduled,
            "runtime started → answers": self.up - self.started,
            "runtime answers → serving": self.ready - self.up,
            "pending → serving": self.ready,
        }


class Sample(BaseModel):
    """One second. What could not be seen is not there; `problems` says why."""

    at: float
    """Seconds since the epoch, by the test's clock."""
    queues: dict[str, Depth] = {}
    replicas: dict[str, Replicas] = {}
    nodes: dict[str, int] = {}
    """By pool and kind of capacity, such as `gpu spot`."""
    busy: dict[str, float] = {}
    """Seconds that each GPU has worked since it started; by replica, as `runtime/replica`."""
    starts: dict[str, Start] = {}
    """By replica, of those that serve."""
    arrived: int = 0
    accepted: int = 0
    ended: int = 0
    throttled: int = 0
    refused: int = 0
    under_way: int = 0
    problems: list[str] = []


def read_samples(path: Path) -> list[Sample]:
    """Returns the samples of a file; a last line that was cut off is left out."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(Sample.model_validate_json(line))
        except ValidationError:
            continue
    return found


@dataclass(frozen=True, slots=True)
class Usage:
    """How the GPUs were used over some time."""

    available: float
    """Seconds in which a GPU was there, summed over all."""
    busy: float
    """Seconds of these in which it worked."""

    @property
    def idle_share(self) -> float | None:
        """0 to 1; None when no GPU was seen."""
        return None if self.available <= 0 else max(0.0, 1 - self.busy / self.available)


def usage_steps(samples: Sequence[Sample], runtime: str = "") -> Iterator[tuple[float, Usage]]:
    """Yields the use of the GPUs between each sample and the next, with the time of the later one.

    A GPU counts from the first sample that shows it to the last. A counter that falls was started anew.

    Args:
        samples: in order.
        runtime: whose; all when empty.
    """
    last_seen: dict[str, tuple[float, float]] = {}
    for sample in samples:
        available = busy = 0.0
        for replica, seconds in sample.busy.items():
            if runtime and not replica.startswith(f"{runtime}/"):
                continue
            before = last_seen.get(replica)
            if before is not None:
                available += sample.at - before[0]
                busy += seconds - before[1] if seconds >= before[1] else seconds
            last_seen[replica] = (sample.at, seconds)
        yield sample.at, Usage(available, busy)


def usage_between(samples: Sequence[Sample], begin: float, end: float, runtime: str = "") -> Usage:
    """Returns the use of the GPUs from `begin` to `end`, in seconds since the epoch."""
    return total_usage(use for at, use in usage_steps(samples, runtime) if begin <= at <= end)


def total_usage(parts: Iterable[Usage]) -> Usage:
    """Returns the sum."""
    available = busy = 0.0
    for part in parts:
        available += part.available
        busy += part.busy
    return Usage(available, busy)

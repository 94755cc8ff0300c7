"""The life of one replica, an agent beside its runtime, and which replicas go when there are too many."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from contract.scaling.settings import Scaling


class Phase(StrEnum):
    """Where a replica stands, in the order of its life."""

    NODE = "node"
    """Waits as long as Karpenter and EC2 would take for a node."""
    IMAGE = "image"
    """Waits as long as pulling the images would take."""
    MODEL = "model"
    """The runtime runs; the agent waits as long as loading the model would take."""
    STARTING = "starting"
    """The agent runs, and is not ready yet."""
    READY = "ready"
    DRAINING = "draining"
    """Told to end."""


LIVING: Final = frozenset(Phase) - {Phase.DRAINING}
"""The phases that count as a replica; Kubernetes does not count pods that are terminating either."""

_CHEAPEST_FIRST: Final = (Phase.NODE, Phase.IMAGE, Phase.MODEL, Phase.STARTING, Phase.READY)
"""As the ReplicaSet controller goes: pods without a node first, then those not ready (Kubernetes, "ReplicaSet: Scaling
down a ReplicaSet")."""


@dataclass(frozen=True)
class StartDelays:
    """How long the parts of a start take that this machine does not have. All in seconds."""

    node: float = 0.0
    image: float = 0.0
    model: float = 0.0

    def phases(self) -> Iterator[tuple[Phase, float]]:
        """Yields what comes before the runtime's process starts."""
        yield Phase.NODE, self.node
        yield Phase.IMAGE, self.image


_AHEAD: Final = time.time() - time.monotonic()


def _now() -> float:
    """Returns Unix seconds that never go back, whatever happens to this machine's clock."""
    return time.monotonic() + _AHEAD


@dataclass
class Replica:
    """One replica; `number` counts from 1 within its runtime and names its ports."""

    number: int
    phase: Phase = Phase.NODE
    since: float = field(default_factory=_now)
    """Unix time of the last change of phase."""

    def enter(self, phase: Phase) -> None:
        """Changes the phase."""
        self.phase, self.since = phase, _now()


def free_numbers(taken: Collection[int], most: int) -> list[int]:
    """Returns the numbers that a new replica may have, lowest first; one that drains still has its ports."""
    return [number for number in range(1, most + 1) if number not in taken]


def surplus(replicas: Sequence[Replica], wanted: int, busy: Collection[int]) -> list[Replica]:
    """Returns the replicas to end: those that have got least far, the youngest first, and never one at work.

    Args:
        replicas: of one runtime.
        wanted: how many there should be.
        busy: the numbers of those whose agent holds a task, or could not be asked.
    """
    living = [replica for replica in replicas if replica.phase in LIVING]
    spare = [replica for replica in living if replica.number not in busy]
    spare.sort(key=lambda replica: (_CHEAPEST_FIRST.index(replica.phase), -replica.since, -replica.number))
    return spare[: max(0, len(living) - wanted)]


def capped(scaling: Scaling, most: int) -> Scaling:
    """Returns the settings with no more replicas than this machine is to run."""
    return scaling.model_copy(
        update={
            "max_replica_count": min(scaling.max_replica_count, most),
            "min_replica_count": min(scaling.min_replica_count, most),
        }
    )

"""What can become of a held message; made by preparing and running, consumed by completing."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import TaskError
from agent.runtimes.base import Answer, Arriving


@dataclass(frozen=True)
class Answered:
    """The runtime answered."""

    answer: Answer
    seconds: float
    """Duration of the run."""


@dataclass(frozen=True)
class Answering:
    """The runtime has begun to answer, and is free for the next run."""

    arriving: Arriving
    seconds: float
    """Duration of the run."""


@dataclass(frozen=True)
class Raised:
    """Preparing or running raised an error."""

    error: TaskError


@dataclass(frozen=True)
class Cancelled:
    """The user asked for it."""


@dataclass(frozen=True)
class Exhausted:
    """Each permitted attempt began and never ended."""


@dataclass(frozen=True)
class Expired:
    """It was to begin by now."""


@dataclass(frozen=True)
class Settled:
    """It has ended already, here or elsewhere."""


@dataclass(frozen=True)
class Abandoned:
    """Another agent has it; nothing is written, published or deleted."""


@dataclass(frozen=True)
class HandedBack:
    """It was not started, or through no fault of its own not ended; others may have it."""

    delay: int = 0
    """Seconds until it is visible again."""


@dataclass(frozen=True)
class Unreadable:
    """The message is no task message."""

    reason: str


type Outcome = Answered | Raised | Cancelled | Exhausted | Expired | Settled | Abandoned | HandedBack | Unreadable

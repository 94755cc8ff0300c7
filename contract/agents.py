"""What an agent tells of itself: a small object in the output bucket, for the API, which reaches no agent.

The agent writes it when something changes, and now and then when nothing does; at its end it writes once more. Who
reads it takes the agent for gone when the object is older than the lifetime that it names. The bucket forgets it a day
after it was written last.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

ENDED: Final = "ended"
"""The state of an agent that has ended in order; every other one is the agent's own word."""

POINT_SECONDS: Final = 60.0
"""At least so long after one point comes the next."""

HOUR: Final = timedelta(hours=1)
"""So far back the points go."""

MOST_BYTES: Final = 16 * 1024
"""Of a note: four times as much as one has with all its points."""

_MINUTE: Final = 60


class Point(NamedTuple):
    """How the GPU's time was spent until then, since the agent began. All in seconds."""

    at: float
    """Unix time."""
    busy: float
    """With a run under way."""
    idle: float
    """With a runtime but no run."""


class RunningTask(BaseModel):
    """A task that is at the agent's runtime."""

    model_config = ConfigDict(frozen=True)

    id: str
    tenant: str = ""
    """Empty: the shared space."""


class AgentNote(BaseModel):
    """What one agent tells of itself. Times are by its own clock."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    agent: str
    """Its id, unique to the process."""
    host: str
    """Where it runs; in Kubernetes the pod's name."""
    version: str = ""
    """What its image is called by those who deploy it; empty: nobody has said."""
    environment: str = ""
    """The hash of its runtime's environment (`contract.environment`); empty: not known."""
    state: str
    """starting, waiting-for-runtime, recycling, warming, ready, busy, draining, failed or ended."""
    reason: str = ""
    """Why it is not ready; empty: nothing is known, or it is."""
    since: datetime
    """When the state began."""
    started_at: datetime
    written_at: datetime
    lifetime_seconds: float
    slots: int
    held: int = 0
    """Messages that it has taken from the queue and not let go."""
    running: tuple[RunningTask, ...] = ()
    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    """Of the last hour, the newest, which is of the writing, last."""


class Minute(NamedTuple):
    """How the GPUs of a runtime spent one minute, all its agents together."""

    at: datetime
    busy_seconds: float
    idle_seconds: float


def by_minute(notes: Iterable[AgentNote], *, now: datetime) -> list[Minute]:
    """Returns the minutes of the last hour in which a GPU was there, the oldest first.

    Between two points of an agent its time counts as spread evenly.

    Args:
        notes: of one runtime; those of agents that have gone count as well.
        now: the end of the hour.
    """
    newest = int(now.timestamp() // _MINUTE)
    oldest = newest - int(HOUR.total_seconds() // _MINUTE) + 1
    busy: defaultdict[int, float] = defaultdict(float)
    idle: defaultdict[int, float] = defaultdict(float)
    for note in notes:
        for before, after in zip(note.points, note.points[1:], strict=False):
            span = after.at - before.at
            if not 0 < span < math.inf:
                continue
            first = max(oldest, int(before.at // _MINUTE))
            for minute in range(first, min(newest, int(after.at // _MINUTE)) + 1):
                share = (min(after.at, (minute + 1) * _MINUTE) - max(before.at, minute * _MINUTE)) / span
                busy[minute] += share * max(0.0, after.busy - before.busy)
                idle[minute] += share * max(0.0, after.idle - before.idle)
    return [
        Minute(datetime.fromtimestamp(minute * _MINUTE, UTC), round(busy[minute], 3), round(idle[minute], 3))
        for minute in sorted(busy)
        if busy[minute] + idle[minute] > 0
    ]

"""When tasks arrive: a CSV file's very times, or a random stream along a curve, made piece by piece."""

from __future__ import annotations

import heapq
import random as chances
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np

from loadtest.shapes import Day, ReplayError, Steady, read_arrivals

DAY: Final = 86_400.0
"""Seconds."""

_PIECE: Final = 60.0
"""Seconds of arrivals that are made at once: what is in memory does not grow with the length of the plan."""

type Curve = Steady | Day

FLOOD: Final = "flood"
"""The tenant that floods."""


class Tagged(float):
    """When a task arrived, in seconds, and whose it is."""

    __slots__ = ("received", "tenant")

    tenant: str
    """Empty: nobody's."""
    received: float
    """When its message was last received; for the queue alone."""

    def __new__(cls, at: float, tenant: str = "") -> Self:
        """Returns the moment with its tenant."""
        made = super().__new__(cls, at)
        made.tenant, made.received = tenant, 0.0
        return made


@dataclass(frozen=True)
class Recorded:
    """Arrivals that are known one by one: seconds from the first, ascending."""

    times: tuple[float, ...]

    @property
    def tenants(self) -> bool:
        """Whether they say whose they are."""
        return isinstance(self.times[0], Tagged)

    @property
    def duration(self) -> float:
        """Seconds from the first arrival to the last; at least one."""
        return max(1.0, self.times[-1] - self.times[0])

    def pieces(self, seed: int) -> Iterator[list[float]]:
        """Yields all of them."""
        yield list(self.times)


@dataclass(frozen=True)
class Random:
    """A Poisson stream whose rate follows a curve (arrivals per second)."""

    curve: Curve
    repeat: int = 1
    """The curve is run through so many times."""

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.curve.duration * self.repeat

    def pieces(self, seed: int) -> Iterator[list[float]]:
        """Yields ascending times, a minute's worth at once; the same ones for the same seed."""
        random = np.random.default_rng(seed)
        for round_ in range(self.repeat):
            begin = 0.0
            while begin < self.curve.duration:
                length = min(_PIECE, self.curve.duration - begin)
                count = random.poisson(self.curve.level(begin + length / 2) * length)
                times = random.uniform(begin, begin + length, count) + round_ * self.curve.duration
                times.sort()
                yield times.tolist()
                begin += length


@dataclass(frozen=True)
class Shared:
    """A load that tenants share, each with the same part of it, and what one tenant more sends at once."""

    load: Recorded | Random
    tenants: int
    flood: int = 0
    """Tasks, in the middle of the load."""

    @property
    def duration(self) -> float:
        """Seconds, as of the load."""
        return self.load.duration

    def pieces(self, seed: int) -> Iterator[list[float]]:
        """Yields ascending times with their tenants; the same ones for the same seed."""
        chance, at = chances.Random(seed), self.duration / 2
        flood: list[float] = [Tagged(at, FLOOD) for _ in range(self.flood)]
        for piece in self.load.pieces(seed):
            named: list[float] = [Tagged(moment, f"tenant-{chance.randrange(self.tenants)}") for moment in piece]
            if flood and named and named[-1] >= at:
                named, flood = list(heapq.merge(named, flood)), []
            yield named
        if flood:
            yield flood


type Arrivals = Recorded | Random | Shared


def from_csv(path: Path, runtime: str = "") -> Recorded:
    """Returns the arrivals of a CSV file as `loadtest` replays it; of one runtime only, where the file names several.

    Where it has a column `tenant`, they are `Tagged`.

    Raises:
        ReplayError: the file cannot be used, or has nothing for this runtime.
    """
    every = read_arrivals(path)
    tagged = any(arrival.tenant for arrival in every)
    times = tuple(
        Tagged(arrival.at, arrival.tenant) if tagged else arrival.at
        for arrival in every
        if not runtime or arrival.runtime in {"", runtime}
    )
    if not times:
        named = ", ".join(sorted({arrival.runtime for arrival in every}))
        raise ReplayError(f"{path}: holds no arrival of the runtime {runtime}, but of {named}; choose by --runtime")
    return Recorded(times)


def daily(per_day: float, days: int, noon_to_night: float) -> Random:
    """Returns so many arrivals a day, the busiest hour with `noon_to_night` times the rate of the quietest."""
    night = 2 * per_day / DAY / (1 + noon_to_night)
    return Random(Day(kind="day", duration=DAY, night=night, noon=night * noon_to_night), days)

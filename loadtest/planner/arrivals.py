"""When tasks arrive: a CSV file's very times, or a random stream along a curve, made piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from loadtest.shapes import Day, ReplayError, Steady, read_arrivals

DAY: Final = 86_400.0
"""Seconds."""

_PIECE: Final = 60.0
"""Seconds of arrivals that are made at once: what is in memory does not grow with the length of the plan."""

type Curve = Steady | Day


@dataclass(frozen=True)
class Recorded:
    """Arrivals that are known one by one: seconds from the first, ascending."""

    times: tuple[float, ...]

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


type Arrivals = Recorded | Random


def from_csv(path: Path, runtime: str = "") -> Recorded:
    """Returns the arrivals of a CSV file as `loadtest` replays it; of one runtime only, where the file names several.

    Raises:
        ReplayError: the file cannot be used, or has nothing for this runtime.
    """
    every = read_arrivals(path)
    times = tuple(arrival.at for arrival in every if not runtime or arrival.runtime in {"", runtime})
    if not times:
        named = ", ".join(sorted({arrival.runtime for arrival in every}))
        raise ReplayError(f"{path}: holds no arrival of the runtime {runtime}, but of {named}; choose by --runtime")
    return Recorded(times)


def daily(per_day: float, days: int, noon_to_night: float) -> Random:
    """Returns so many arrivals a day, the busiest hour with `noon_to_night` times the rate of the quietest."""
    night = 2 * per_day / DAY / (1 + noon_to_night)
    return Random(Day(kind="day", duration=DAY, night=night, noon=night * noon_to_night), days)

"""Turns times and samples into figures; pure functions."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Sample:
    """What a process has used by some moment."""

    at: float
    """Unix seconds."""
    cpu: float
    """Processor seconds since its start, user and system."""
    rss: int
    """Bytes."""


@dataclass(frozen=True)
class Run:
    """One task on the GPU, in Unix seconds."""

    started: float
    ended: float


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Returns the smallest value that at least `percent` of all values do not exceed (nearest rank); None of nothing.

    Args:
        values: in any order.
        percent: above 0, at most 100.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"{percent} is no percentage")
    if not values:
        return None
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def idle_fraction(runs: Sequence[Run], busy_seconds: float) -> float | None:
    """Returns the part of the span from the first start to the last end in which the GPU did nothing; None of nothing.

    Args:
        runs: of one GPU.
        busy_seconds: that it worked within the span.
    """
    if not runs:
        return None
    span = max(run.ended for run in runs) - min(run.started for run in runs)
    if span <= 0:
        return 0.0
    return min(1.0, max(0.0, 1 - busy_seconds / span))


def gaps(runs: Sequence[Run]) -> list[float]:
    """Returns the seconds from each run's end to the start of the next one on the same GPU; never less than 0."""
    ordered = sorted(runs, key=lambda run: run.started)
    return [max(0.0, after.started - before.ended) for before, after in itertools.pairwise(ordered)]


def cpu_between(samples: Sequence[Sample], begin: float, end: float) -> float:
    """Returns the processor seconds used between two moments; between two samples, use counts as even."""
    return max(0.0, _cpu_at(samples, end) - _cpu_at(samples, begin))


def _cpu_at(samples: Sequence[Sample], moment: float) -> float:
    if not samples:
        return 0.0
    after = bisect_left(samples, moment, key=lambda sample: sample.at)
    if after == 0:
        return samples[0].cpu
    if after == len(samples):
        return samples[-1].cpu
    low, high = samples[after - 1], samples[after]
    part = (moment - low.at) / (high.at - low.at)
    return low.cpu + part * (high.cpu - low.cpu)


def peak_rss(samples: Sequence[Sample]) -> int | None:
    """Returns the most bytes that were in memory at once; None of nothing."""
    return max((sample.rss for sample in samples), default=None)


def rss_within(samples: Sequence[Sample], begin: float, end: float) -> int | None:
    """Returns the middle one of the sizes in memory between two moments; None when no sample lies there."""
    found = [sample.rss for sample in samples if begin <= sample.at <= end]
    return int(median(found)) if found else None


def rate_within(moments: Sequence[float], begin: float, end: float) -> float | None:
    """Returns events per second between two moments; None of an empty span."""
    if end <= begin:
        return None
    return sum(begin < moment <= end for moment in moments) / (end - begin)


def medians(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Returns the median of each figure over repetitions; those that are missing do not count."""
    names = dict.fromkeys(name for row in rows for name in row)
    found = {name: [value for row in rows if (value := row.get(name)) is not None] for name in names}
    return {name: median(values) if values else None for name, values in found.items()}

"""Decides when the tasks of an open load arrive, and which Locust worker sends which of them."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence

from loadtest.scenario import Flood
from loadtest.shapes import Arrival, Replay, Shape, read_arrivals


def arrivals(shape: Shape, seed: int) -> Iterator[Arrival]:
    """Yields every arrival of a load in order; the same ones for the same seed, on every worker.

    Arrivals are a Poisson process whose rate follows the shape: independent users, as they come. Drawn by thinning
    (P. Lewis, G. Shedler: Simulation of nonhomogeneous Poisson processes by thinning, 1979).

    Raises:
        loadtest.shapes.ReplayError: the file of a replay cannot be used.
    """
    if isinstance(shape, Replay):
        yield from read_arrivals(shape.file, shape.speed)
        return
    chance = random.Random(seed)
    peak = shape.peak
    if peak <= 0:
        return
    at = chance.expovariate(peak)
    while at < shape.duration:
        if chance.random() * peak < shape.level(at):
            yield Arrival(at=at)
        at += chance.expovariate(peak)


def flooded(every: Iterable[Arrival], flood: Flood, tenants: Sequence[str], seed: int) -> Iterator[Arrival]:
    """Yields the arrivals of a load and of a flood, in order; each belongs to a tenant.

    Args:
        every: of the load; the second tenant and those after it share them by chance.
        flood: of the first tenant.
        tenants: two at least.
        seed: the same tenants for the same one.
    """
    chance, (first, *others) = random.Random(seed), tenants
    theirs = (arrival.model_copy(update={"tenant": chance.choice(others)}) for arrival in every)
    gap = flood.within / flood.tasks
    its = (Arrival(at=flood.begin + number * gap, tenant=first) for number in range(flood.tasks))
    return heapq.merge(theirs, its, key=lambda arrival: arrival.at)


def share_of(worker: int, workers: int, every: Iterable[Arrival]) -> Iterator[tuple[int, Arrival]]:
    """Yields the arrivals of one of so many workers, each with its number in the whole load."""
    return itertools.islice(enumerate(every), worker, None, workers)


def length(shape: Shape) -> float:
    """Returns the seconds from the start of a load to its last arrival.

    Raises:
        loadtest.shapes.ReplayError: the file of a replay cannot be used.
    """
    if isinstance(shape, Replay):
        return read_arrivals(shape.file, shape.speed)[-1].at
    return shape.duration

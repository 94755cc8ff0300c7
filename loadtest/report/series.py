"""Turns a run into curves over one time axis."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from loadtest.run import Run, percentile
from loadtest.samples import Sample, total_usage, usage_steps
from loadtest.tasks import Answer

_BINS: Final = 240
"""The most points of a curve: more would not be seen."""
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Seconds that one point may stand for."""

type _Points = tuple[list[float], list[float]]


@dataclass(frozen=True)
class Curve:
    """Values over time; NaN where nothing is known."""

    label: str
    x: list[float]
    """Seconds since the load began."""
    y: list[float]
    stepped: bool = False
    filled: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One of the plots that share the time axis."""

    title: str
    curves: list[Curve]
    top: float | None = None
    """The highest value of its axis; None: whatever is there."""


@dataclass(frozen=True)
class Chart:
    """All plots of a run, or of two."""

    panels: list[Panel]
    end: float
    """Seconds that the axis shows."""
    marks: list[tuple[float, str]] = field(default_factory=list)
    """Moments worth a line through all plots."""


def chart_of(run: Run) -> Chart:
    """Returns the plots of one run."""
    bins = _Bins(run)
    sent = bins.rate(task.due_at for task in run.tasks)
    ended = bins.rate(task.heard[0].at for task in run.tasks if task.heard)
    throttled = [task.due_at for task in run.tasks if task.answer is Answer.THROTTLED]
    load = [Curve("arrivals", *sent, stepped=True), Curve("ended", *ended, stepped=True)]
    if throttled:
        load.append(Curve("throttled", *bins.rate(throttled), stepped=True))
    replicas = [
        Curve("ready", *bins.sampled(_ready), stepped=True),
        Curve("starting", *bins.sampled(_starting), stepped=True),
        Curve("wanted", *bins.sampled(_wanted), stepped=True, dashed=True),
        Curve("nodes", *bins.sampled(_nodes), stepped=True),
    ]
    panels = [
        Panel("tasks per second", load),
        Panel(
            "messages in the queues",
            [
                Curve("waiting", *bins.sampled(_visible), filled=True),
                Curve("in flight", *bins.sampled(_in_flight)),
            ],
        ),
        Panel("replicas and nodes", [curve for curve in replicas if any(value > 0 for value in curve.y)]),
        Panel("seconds from due to callback", bins.latencies()),
        Panel("% of GPU time that is busy", [Curve("busy", *bins.busy(), filled=True)], top=100),
    ]
    seen = [panel for panel in panels if any(not math.isnan(value) for curve in panel.curves for value in curve.y)]
    return Chart(seen, bins.end, _marks(run))


def comparison_of(first: Run, second: Run, names: tuple[str, str]) -> Chart:
    """Returns the plots of two runs on one axis, the main curve of each plot only."""
    charts = [chart_of(first), chart_of(second)]
    titles = [panel.title for panel in charts[0].panels if panel.title in {item.title for item in charts[1].panels}]
    picked = {"tasks per second": "ended", "seconds from due to callback": "p95"}
    panels = []
    for title in titles:
        curves = []
        for chart, name in zip(charts, names, strict=True):
            panel = next(item for item in chart.panels if item.title == title)
            wanted = picked.get(title, panel.curves[0].label if panel.curves else "")
            curves += [
                Curve(f"{name}: {curve.label}", curve.x, curve.y, stepped=curve.stepped)
                for curve in panel.curves
                if curve.label == wanted
            ]
        panels.append(Panel(title, curves, 100 if title.startswith("%") else None))
    return Chart(panels, max(chart.end for chart in charts))


class _Bins:
    """The time axis of a run, cut into pieces of equal length."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._begin = run.facts.began_at
        last = max([run.facts.ended_at, *(task.heard[0].at for task in run.tasks if task.heard)])
        self.end = max(1.0, last - self._begin)
        self.width = next((step for step in _STEPS if self.end / step <= _BINS), math.ceil(self.end / _BINS))
        self._count = math.ceil(self.end / self.width)
        self.x = [float(number * self.width) for number in range(self._count)]

    def _index(self, at: float) -> int:
        return min(self._count - 1, max(0, int((at - self._begin) // self.width)))

    def rate(self, moments: Iterable[float]) -> _Points:
        """Returns how many there were per second."""
        counts = [0.0] * self._count
        for at in moments:
            counts[self._index(at)] += 1 / self.width
        return self.x, counts

    def sampled(self, value: Callable[[Sample], float]) -> _Points:
        """Returns the last known value of each piece."""
        found = [math.nan] * self._count
        for sample in self._run.samples:
            if sample.at >= self._begin:
                found[self._index(sample.at)] = value(sample)
        return self.x, found

    def latencies(self) -> list[Curve]:
        """Returns p50 and p95 of the tasks that were due in each piece."""
        pieces: list[list[float]] = [[] for _ in range(self._count)]
        for task in self._run.tasks:
            if task.end_to_end is not None:
                pieces[self._index(task.due_at)].append(task.end_to_end)
        return [
            Curve(
                f"p{percent}",
                self.x,
                [math.nan if (value := percentile(piece, percent)) is None else value for piece in pieces],
                stepped=True,
            )
            for percent in (50, 95)
        ]

    def busy(self) -> _Points:
        """Returns how much of the GPUs' time was used, over five seconds at least: counters move in jumps."""
        steps = [(at, use) for at, use in usage_steps(self._run.samples) if use.available > 0]
        times = [at for at, _ in steps]
        span = max(5.0, float(self.width))
        shares = []
        for x in self.x:
            begin = bisect.bisect_left(times, self._begin + x - span / 2)
            end = bisect.bisect_right(times, self._begin + x + span / 2)
            idle = total_usage(use for _, use in steps[begin:end]).idle_share
            shares.append(math.nan if idle is None else 100 * (1 - idle))
        return self.x, shares


def _marks(run: Run) -> list[tuple[float, str]]:
    begin = run.facts.began_at
    marks = [(run.load_end - begin, "load ends")]
    if run.drained_at is not None and run.drained_at > run.load_end + 1:
        marks.append((run.drained_at - begin, "queue empty"))
    return marks + [(at - begin, "agent killed") for at in run.facts.kills]


def _visible(sample: Sample) -> float:
    return sum(depth.visible for depth in sample.queues.values()) if sample.queues else math.nan


def _in_flight(sample: Sample) -> float:
    return sum(depth.in_flight for depth in sample.queues.values()) if sample.queues else math.nan


def _ready(sample: Sample) -> float:
    return sum(item.ready for item in sample.replicas.values()) if sample.replicas else math.nan


def _starting(sample: Sample) -> float:
    return sum(item.starting for item in sample.replicas.values()) if sample.replicas else math.nan


def _wanted(sample: Sample) -> float:
    known = [item.wanted for item in sample.replicas.values() if item.wanted is not None]
    return sum(known) if known else math.nan


def _nodes(sample: Sample) -> float:
    return sum(sample.nodes.values()) if sample.nodes else math.nan

"""The agent's Prometheus metrics, in a registry of their own."""

from __future__ import annotations

import time
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
"""Seconds, from a record's read to a video."""


class Metrics:
    """Counters and timers; `outcome` and `phase` are the only labels, so that the number of series is bounded."""

    def __init__(self, runtime: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.info = Gauge("darkroom_agent_info", "Always 1.", ["runtime"], registry=self.registry)
        self.info.labels(runtime).set(1)
        self.tasks = Counter(
            "darkroom_agent_tasks", "Messages that were let go, by outcome.", ["outcome"], registry=self.registry
        )
        self.phases = Histogram(
            "darkroom_agent_phase_seconds",
            "Seconds of each phase.",
            ["phase"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.first_image = Histogram(
            "darkroom_agent_time_to_first_image_seconds",
            "Seconds from the publication of a task to its first image in S3.",
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.busy = Counter("darkroom_agent_busy_seconds", "Seconds with a run under way.", registry=self.registry)
        self.idle = Counter("darkroom_agent_idle_seconds", "Seconds with a runtime but no run.", registry=self.registry)
        self.held = Gauge("darkroom_agent_held_messages", "Held messages, by stage.", ["stage"], registry=self.registry)
        self.heartbeats = Counter(
            "darkroom_agent_heartbeats", "Heartbeats, by result.", ["result"], registry=self.registry
        )
        self.receive_errors = Counter("darkroom_agent_receive_errors", "Receives that failed.", registry=self.registry)
        self._mark = time.monotonic()
        self._kind: Counter | None = None

    def spend(self, *, on_run: bool | None) -> None:
        """Books the time since the last call, and says what the time from now on is: a run, idle, or neither (None)."""
        now = time.monotonic()
        if self._kind is not None:
            self._kind.inc(now - self._mark)
        self._mark = now
        self._kind = {True: self.busy, False: self.idle, None: None}[on_run]

    def settle(self) -> None:
        """Books the time since the last change, so that a scrape sees it."""
        now = time.monotonic()
        if self._kind is not None:
            self._kind.inc(now - self._mark)
        self._mark = now

    def gpu_seconds(self) -> tuple[float, float]:
        """Returns the seconds with a run under way, and those with a runtime but no run, until now."""
        self.settle()
        return _value(self.busy), _value(self.idle)

    def render(self) -> bytes:
        """Returns the text that Prometheus scrapes."""
        return generate_latest(self.registry)


def _value(counter: Counter) -> float:
    [family] = counter.collect()
    return float(family.samples[0].value)

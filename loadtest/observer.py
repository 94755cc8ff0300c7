"""Looks at queues, replicas, nodes and GPUs each second, and writes what it sees to one file."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import gevent

from loadtest.clock import Clock
from loadtest.observe.source import Source, SourceError
from loadtest.samples import Sample

INTERVAL: Final = 1.0
"""Seconds."""
_KEPT_FOR: Final = 3
"""Looks for which an answer stands when later ones fail; then it is out of date, and left out."""


class Observer:
    """Takes samples until it is stopped.

    Args:
        sources: to look at.
        path: of the file; one line of JSON for each sample.
        counters: returns the load's own figures for a sample.
    """

    def __init__(self, sources: Sequence[Source], path: Path, counters: Callable[[], dict[str, int]]) -> None:
        self.samples: list[Sample] = []
        self._sources = sources
        self._path = path
        self._counters = counters
        self._clock = Clock()
        self._seen: dict[str, dict[str, Any]] = {}
        self._seen_at: dict[str, float] = {}
        self._problems: dict[str, str] = {}
        self._greenlets: list[gevent.Greenlet[..., Any]] = []

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return self.samples[-1] if self.samples else None

    def start(self) -> None:
        """Starts to look; each source at its own pace, so that a slow one does not hold up the others."""
        self._path.unlink(missing_ok=True)
        self._greenlets = [gevent.spawn(self._watch, source) for source in self._sources]
        self._greenlets.append(gevent.spawn(self._write))

    def stop(self) -> None:
        """Takes a last sample and stops."""
        if self._greenlets:
            gevent.killall(self._greenlets, timeout=5)
            self._greenlets = []
            with self._path.open("a", encoding="utf-8") as file:
                self._take(file.write)

    def _watch(self, source: Source) -> None:
        while True:
            began = time.monotonic()
            try:
                self._seen[source.name] = source.look()
                self._seen_at[source.name] = began
                self._problems.pop(source.name, None)
            except SourceError as error:
                self._problems[source.name] = str(error)
            gevent.sleep(max(0.05, source.every - (time.monotonic() - began)))

    def _write(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            due = time.monotonic()
            while True:
                self._take(file.write)
                file.flush()
                due = max(due + INTERVAL, time.monotonic())
                gevent.sleep(due - time.monotonic())

    def _take(self, write: Callable[[str], object]) -> None:
        now = time.monotonic()
        fields: dict[str, Any] = {}
        for source in self._sources:
            seen = self._seen.get(source.name)
            if seen is not None and now - self._seen_at[source.name] <= _KEPT_FOR * source.every + INTERVAL:
                fields |= seen
                # A counter stands for the moment of its look: told again, it would say that nothing was done since.
                self._seen[source.name] = {key: value for key, value in seen.items() if key != "busy"}
        sample = Sample(at=self._clock.now(), problems=sorted(self._problems.values()), **fields, **self._counters())
        self.samples.append(sample)
        write(sample.model_dump_json(exclude_defaults=True) + "\n")

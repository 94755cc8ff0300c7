"""Leads a load test, in exactly one of its processes: gathers all reports, observes the stack, says when to end."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

from contract.scaling.settings import Scaling
from loadtest.observe.source import Source
from loadtest.observer import Observer
from loadtest.scaling_checks import scale_in_windows
from loadtest.scenario import Arrive, Scenario
from loadtest.shapes import Replay
from loadtest.station import Report
from loadtest.tasks import Task

_READ_WITHIN: Final = 120.0
"""Seconds in which the records that are left are read."""


class Stage(StrEnum):
    """How far a load test is."""

    LOAD = "load"
    DRAIN = "drain"
    SCALE_IN = "scale-in"
    READING = "reading records"
    DONE = "done"


class Conductor:
    """Leads one load test.

    Args:
        scenario: what is done.
        length: seconds of the load.
        scaling: settings by runtime, for as long as scale-in is watched.
        sources: what is observed.
        path: where samples go.
        settle: seconds after which what all processes report is new.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        length: float,
        scaling: dict[str, Scaling],
        sources: list[Source],
        path: Path,
        settle: float,
    ) -> None:
        self.stage = Stage.LOAD
        self.tasks: dict[str, Task] = {}
        self.length = length
        self.began_at = 0.0
        self.scenario = scenario
        self._settle = settle
        self._scaling = scaling
        self._reports: dict[str, Report] = {}
        self._stage_began = 0.0
        self._processes = 1
        self.observer = Observer(sources, path, self.counters)

    def begin(self, now: float, processes: int = 1) -> None:
        """Starts to observe; `now` is when the load begins, in seconds since the epoch, in so many processes."""
        self._processes = processes
        self.stage, self._stage_began, self.began_at = Stage.LOAD, 0.0, now
        self.tasks.clear()
        self._reports.clear()
        self.observer.start()

    def take(self, worker: str, report: Report) -> None:
        """Takes in what a process has to tell."""
        for task in report.tasks:
            self.tasks[task.id] = task
        report.tasks = []
        self._reports[worker] = report

    @property
    def heard_out(self) -> bool:
        """Whether every process that has told anything has told its last."""
        return all(report.last for report in self._reports.values())

    def counters(self) -> dict[str, int]:
        """Returns the load's figures so far, over all processes."""
        reports = self._reports.values()
        return {
            name: sum(getattr(report, name) for report in reports)
            for name in ("arrived", "accepted", "ended", "throttled", "refused", "under_way")
        }

    def level(self, elapsed: float, workers: int) -> int:
        """Returns how many Locust users there must be: one in each process for an open load."""
        if self.scenario.arrive is Arrive.OPEN:
            return workers
        shape = self.scenario.shape
        if isinstance(shape, Replay):  # never: a replay is open
            return 0
        return round(shape.level(min(elapsed, self.length)))

    def advance(self, elapsed: float, on_reading: Callable[[], None]) -> Stage:
        """Returns the stage in which the test is now.

        Args:
            elapsed: seconds since the load began.
            on_reading: called once, when nothing more is waited for: what is known so far must be completed.
        """
        while (following := self._next(elapsed, elapsed - self._stage_began)) is not self.stage:
            self.stage, self._stage_began = following, elapsed
            if following is Stage.READING:
                on_reading()
        return self.stage

    def _next(self, elapsed: float, in_stage: float) -> Stage:
        match self.stage:
            case Stage.LOAD if elapsed >= self.length:
                return Stage.DRAIN
            case Stage.DRAIN if in_stage >= self.scenario.drain or (
                self._is_quiet() and in_stage >= max(self.scenario.linger, self._settle)
            ):
                return Stage.SCALE_IN
            case Stage.SCALE_IN if in_stage >= self._watch_scale_in() or self._is_at_min():
                return Stage.READING
            case Stage.READING if in_stage >= _READ_WITHIN or (not self._unread() and in_stage >= self._settle):
                return Stage.DONE
        return self.stage

    def _is_quiet(self) -> bool:
        """Whether every process has sent its load, and all of it has ended."""
        reports = self._reports.values()
        return len(reports) >= self._processes and not any(report.loading or report.under_way for report in reports)

    def _unread(self) -> int:
        return sum(report.unread for report in self._reports.values())

    def _watch_scale_in(self) -> float:
        """Returns the seconds for which scale-in is waited for."""
        check = self.scenario.checks.scaling
        if check is None or check.back_to_min_within is None:
            return 0.0
        return check.back_to_min_within + max(map(scale_in_windows, self._scaling.values()), default=0.0) + 2.0

    def _is_at_min(self) -> bool:
        latest = self.observer.latest
        if latest is None or not latest.replicas:
            return False
        return all(
            replicas.kept + replicas.draining <= self._scaling[runtime].min_replica_count
            for runtime, replicas in latest.replicas.items()
            if runtime in self._scaling
        )

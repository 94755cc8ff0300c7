"""The states of an agent, and how long it has been in each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class State(StrEnum):
    """What the agent is doing, as `/readyz` says it."""

    STARTING = "starting"
    WAITING_FOR_RUNTIME = "waiting-for-runtime"
    """The runtime is not up, is being restarted, or does not let go of a run that was interrupted."""
    WARMING = "warming"
    """The runtime is at the first prompt, which is nobody's task."""
    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    FAILED = "failed"
    """The queue is out of reach; the agent goes on trying."""


class Lifecycle:
    """Notes each change of state; cheap enough to be told of every run's start and end.

    Args:
        clock: monotonic seconds.
        now: the wall clock.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._clock = clock
        self._now = now
        self._state = State.STARTING
        self._since = clock()
        self._entered = {State.STARTING: now()}
        self._times = {State.STARTING: 1}
        self._seconds: dict[State, float] = {}

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def since(self) -> datetime:
        """When the present state began."""
        return self._entered[self._state]

    def enter(self, state: State) -> None:
        """Says what the state is now; without effect when it is that already."""
        if state is self._state:
            return
        now = self._clock()
        self._seconds[self._state] = self._seconds.get(self._state, 0.0) + now - self._since
        self._state, self._since = state, now
        self._entered[state] = self._now()
        self._times[state] = self._times.get(state, 0) + 1

    def seconds(self) -> dict[State, float]:
        """Returns the seconds spent in each state that there has been, the present one's until now included."""
        elapsed = self._clock() - self._since
        return {
            state: self._seconds.get(state, 0.0) + (elapsed if state is self._state else 0.0) for state in self._times
        }

    def describe(self) -> dict[str, Any]:
        """Returns the states for JSON: the present one, and each one's latest entry, entries and time."""
        seconds = self.seconds()
        return {
            "state": self._state,
            "since": _text(self._entered[self._state]),
            "seconds": round(self._clock() - self._since, 3),
            "states": {
                state: {
                    "entered": _text(self._entered[state]),
                    "times": times,
                    "seconds": round(seconds[state], 3),
                }
                for state, times in self._times.items()
            },
        }


class LifecycleCollector(Collector):
    """Gives Prometheus the seconds spent in each state; read when scraped, so that it costs nothing else."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self._lifecycle = lifecycle

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yields the one metric."""
        family = CounterMetricFamily("darkroom_agent_state_seconds", "Seconds in each state.", labels=["state"])
        seconds = self._lifecycle.seconds()
        for state in State:
            family.add_metric([state], seconds.get(state, 0.0))
        yield family


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")

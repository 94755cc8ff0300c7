"""Judges whether the replicas of a runtime followed its queue, by KEDA's and the HPA's own settings.

Time counts from the *call*: the first sample in which the queue held more messages than `queueLength` for each replica,
by more than the HPA's tolerance; without a replica, more than `activationQueueLength`, as KEDA has it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contract.scaling.keda import Backlog, metric
from contract.scaling.settings import Scaling
from loadtest.phases import Phase
from loadtest.run import Run
from loadtest.samples import Depth, Replicas
from loadtest.scenario import ScalingCheck
from loadtest.verdict import Outcome

_PEAK: Final = 10.0
"""Seconds over which the busiest rate of arrivals is taken."""

_SHOWN_LATE: Final = 5.0
"""Seconds after which a sample surely shows that a replica has been told to go."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Queue and replicas of one runtime in one sample."""

    at: float
    depth: Depth
    replicas: Replicas


def scaling_outcomes(run: Run, check: ScalingCheck) -> Iterator[Outcome]:
    """Yields the outcomes for every runtime that is judged."""
    runtimes = [check.runtime] if check.runtime else run.runtimes()
    if not runtimes:
        yield Outcome("scaling", False, "nothing was sent: nothing to look at")
    for runtime in runtimes:
        scaling = run.facts.scaling.get(runtime)
        moments = [
            Moment(sample.at, sample.queues[runtime], sample.replicas[runtime])
            for sample in run.samples
            if runtime in sample.queues and runtime in sample.replicas
        ]
        if scaling is None or not moments:
            yield Outcome(f"{runtime}: scaling", False, "its queue and replicas were not seen: nothing to look at")
            continue
        yield from _Judge(run, check, runtime, scaling, moments).outcomes()


def called_at(moments: list[Moment], scaling: Scaling) -> int | None:
    """Returns the index of the first moment in which the queue called for more replicas than there were."""
    tolerance = 1 + scaling.behaviour.scale_up.tolerance
    for index, moment in enumerate(moments):
        depth, there = moment.depth, moment.replicas.kept
        messages = metric(scaling, Backlog(depth.visible, depth.in_flight, depth.delayed))
        enough = scaling.queue_length * there * tolerance if there else scaling.activation_queue_length
        if messages > enough:
            return index
    return None


def replicas_needed(run: Run, runtime: str) -> int | None:
    """Returns how many replicas keep up with the busiest ten seconds: arrivals × seconds per task (Little's law).

    None when no task of the runtime was generated.
    """
    seconds = [
        spans[Phase.GENERATION].seconds
        for task, spans in zip(run.tasks, run.spans, strict=True)
        if task.runtime == runtime and Phase.GENERATION in spans
    ]
    if not seconds:
        return None
    bins: dict[int, int] = {}
    for task in run.tasks:
        if task.runtime == runtime:
            number = int((task.due_at - run.facts.began_at) // _PEAK)
            bins[number] = bins.get(number, 0) + 1
    rate = max(bins.values()) / _PEAK
    return max(1, math.ceil(rate * sum(seconds) / len(seconds)))


def scale_in_windows(scaling: Scaling) -> float:
    """Returns the seconds for which the scaler itself keeps replicas that nothing needs any more.

    The HPA's window above one replica (or its period of 15 s, and as long again until a decision), KEDA's cooldown from
    one to none.
    """
    window = scaling.behaviour.scale_down.stabilization_window_seconds or 0
    cooldown = scaling.cooldown_period + scaling.polling_interval if scaling.min_replica_count == 0 else 0
    return float(window + cooldown)


class _Judge:
    """Judges one runtime."""

    def __init__(self, run: Run, check: ScalingCheck, runtime: str, scaling: Scaling, moments: list[Moment]) -> None:
        self._run = run
        self._check = check
        self._runtime = runtime
        self._scaling = scaling
        self._moments = moments
        self._call = called_at(moments, scaling)

    def outcomes(self) -> Iterator[Outcome]:
        """Yields what the scenario asks for."""
        check = self._check
        if check.scale_out_within is not None:
            yield self._scale_out(check.scale_out_within)
        if check.reached_within is not None:
            yield self._reached(check.reached_within)
        if check.never_above_max:
            yield self._never_above_max()
        if check.back_to_min_within is not None:
            yield self._back_to_min(check.back_to_min_within)
        if check.no_busy_replica_removed:
            yield self._no_busy_removed()

    def _outcome(self, name: str, passed: bool, says: str) -> Outcome:
        return Outcome(f"{self._runtime}: {name}", passed, says)

    def _no_call(self, name: str) -> Outcome:
        highest = max(moment.depth.total for moment in self._moments)
        return self._outcome(
            name,
            False,
            f"the queue never called for another replica (at most {highest:,} messages, queueLength "
            f"{self._scaling.queue_length}): nothing to look at; raise the load",
        )

    def _limit(self) -> str:
        """Says that the setting stands in the way, if it does."""
        highest = max(moment.replicas.kept for moment in self._moments)
        limit = self._scaling.max_replica_count
        return f"; maxReplicaCount is {limit}: the scaler may not go further" if highest >= limit else ""

    def _scale_out(self, limit: float) -> Outcome:
        name = f"scale-out began within {limit:g} s"
        if self._call is None:
            return self._no_call(name)
        call = self._moments[self._call]
        more = [
            moment.at - call.at for moment in self._moments[self._call :] if moment.replicas.kept > call.replicas.kept
        ]
        if not more:
            there = _replicas(call.replicas.kept)
            says = f"the queue called for more than {there}, and none was ever added{self._limit()}"
            return self._outcome(name, False, says)
        return self._outcome(name, more[0] <= limit, f"the first replica was added {more[0]:.0f} s after the call")

    def _reached(self, limit: float) -> Outcome:
        needed = self._check.needed or replicas_needed(self._run, self._runtime)
        name = f"reached the needed {needed or 'number of'} replicas within {limit:g} s"
        if needed is None:
            return self._outcome(name, False, "no task was generated: nothing to look at")
        if self._call is None:
            return self._no_call(name)
        call = self._moments[self._call]
        there = [moment.at - call.at for moment in self._moments[self._call :] if moment.replicas.ready >= needed]
        if there:
            return self._outcome(
                name, there[0] <= limit, f"{_replicas(needed)} were ready {there[0]:.0f} s after the call"
            )
        highest = max(moment.replicas.ready for moment in self._moments)
        return self._outcome(
            name, False, f"{_replicas(needed)} were needed, at most {highest} were ever ready{self._limit()}"
        )

    def _never_above_max(self) -> Outcome:
        highest = max(moment.replicas.kept for moment in self._moments)
        limit = self._scaling.max_replica_count
        return self._outcome(f"never above {_replicas(limit)}", highest <= limit, f"at most {highest} were there")

    def _back_to_min(self, limit: float) -> Outcome:
        least = self._scaling.min_replica_count
        windows = scale_in_windows(self._scaling)
        name = f"back to {_replicas(least)} within {windows:g} + {limit:g} s of an empty queue"
        if not any(moment.replicas.kept > least for moment in self._moments):
            return self._outcome(name, False, f"there were never more than {_replicas(least)}: nothing to look at")
        empty = self._run.drained_at
        if empty is None:
            return self._outcome(name, False, "the queue was not empty when the test ended: nothing to look at")
        after = [moment for moment in self._moments if moment.at >= empty]
        if not after:
            return self._outcome(name, False, "no replicas were seen after the queue was empty: nothing to look at")
        above = [moment for moment in after if moment.replicas.kept > least]
        if after[-1] in above:
            left = after[-1].replicas.kept
            waited = after[-1].at - empty
            return self._outcome(name, False, f"{_replicas(left)} were still there {waited:.0f} s after it")
        seconds = max(0.0, (above[-1].at if above else empty) - empty)
        return self._outcome(name, seconds <= windows + limit, f"{seconds:.0f} s after the queue was empty")

    def _no_busy_removed(self) -> Outcome:
        name = "no busy replica was removed"
        removed = [
            later.at
            for earlier, later in itertools.pairwise(self._moments)
            if later.replicas.kept < earlier.replicas.kept
        ]
        if not removed:
            return self._outcome(name, False, "no replica was ever removed: nothing to look at")
        seen = [task.seen for task in self._run.tasks if task.runtime == self._runtime and task.seen is not None]
        if not seen:
            return self._outcome(name, False, "no record of a task could be read: nothing to look at")
        # What had begun for the last time before any replica went, a runtime that died took it back, no scaler.
        since = removed[0] - _SHOWN_LATE
        later = [item for item in seen if (item.started_at or 0.0) >= since or not item.status.terminal]
        handed_back = sum(item.excused > 0 for item in later)
        # A replica that was killed on purpose leaves tasks that begin again; they say nothing about scale-in.
        again = 0 if self._run.facts.kills else sum(item.attempts - item.excused > 1 for item in later)
        if handed_back or again:
            says = f"{handed_back} tasks were handed back in the middle of their run, {again} began again"
            return self._outcome(name, False, says)
        return self._outcome(name, True, f"none of {len(seen):,} tasks lost its replica in the middle of its run")


def _replicas(count: int) -> str:
    return f"{count} replica" if count == 1 else f"{count} replicas"

"""KEDA and the HPA together, told the time and the queue; `up --autoscale` and the planner both ask this very code."""

from __future__ import annotations

from typing import Final

from contract.scaling import hpa, keda
from contract.scaling.settings import Scaling

FAILED_LOOK: Final = 6.0
"""Seconds that KEDA's look at a queue takes on average when its connections are refused: it asks twice
(`GetMetricsAndActivityForScaler` in `pkg/scaling/cache/scalers_cache.go`), and AWS's SDK tries three times each, with
up to 2 s and up to 4 s between (`ExponentialJitterBackoff`). Seen with KEDA 2.20.2: 4 to 7 s, and one of the first
failures is often not counted. A look that is not answered at all takes for ever, and counts as no failure."""


def resting_at(scaling: Scaling, backlog: keda.Backlog) -> int:
    """Returns the replicas that the rules come to rest at if a queue stays as it is; windows and policies say how fast.

    Args:
        scaling: the settings.
        backlog: the queue.
    """
    if not scaling.enabled:
        return max(1, scaling.min_replica_count)
    messages = keda.metric(scaling, backlog)
    if not scaling.min_replica_count and messages <= scaling.activation_queue_length:
        return 0  # where there is always one, KEDA leaves the queue to the HPA, which knows of no activation
    least = max(1, scaling.min_replica_count)
    return max(least, min(hpa.recommend(scaling, replicas=0, messages=messages), scaling.max_replica_count))


class Autoscaler:
    """Decides how many replicas of one runtime are wanted; does no waiting and no counting of its own.

    Args:
        scaling: the settings.
        sync_period: seconds between the HPA's decisions.
        began: the time of the first decisions.
    """

    def __init__(self, scaling: Scaling, *, sync_period: float = hpa.SYNC_PERIOD, began: float = 0.0) -> None:
        self.scaling = scaling
        self.wanted = scaling.min_replica_count if scaling.enabled else max(1, scaling.min_replica_count)
        """Replicas."""
        self._sync_period = sync_period
        self._next_poll = self._next_sync = began
        self._last_active: float | None = None
        self._history = hpa.History()
        self._failures = 0
        self._looks_in_vain = False

    @property
    def due(self) -> float:
        """When `decide` has something to do again."""
        return min(self._next_poll, self._next_sync)

    def decide(self, now: float, backlog: keda.Backlog | None) -> int:
        """Makes the decisions that are due; returns the replicas that are wanted.

        Args:
            now: seconds, never less than before.
            backlog: the queue at this time; None: it could not be read.
        """
        if not self.scaling.enabled:
            self._next_poll = self._next_sync = now + self._sync_period
            return self.wanted
        if now >= self._next_poll:
            self._next_poll = now + self.scaling.polling_interval
            if backlog is None:
                self._next_poll = now + max(self.scaling.polling_interval, FAILED_LOOK)
                # What begins now is known to have failed when it has ended.
                self._failures += self._looks_in_vain
                self._looks_in_vain = True
                if self._falls_back and self.wanted == 0:
                    self.wanted = max(1, self.scaling.min_replica_count)
            else:
                self._failures, self._looks_in_vain = 0, False
                self.wanted, self._last_active = keda.poll(
                    self.scaling,
                    now=now,
                    replicas=self.wanted,
                    messages=keda.metric(self.scaling, backlog),
                    last_active=self._last_active,
                )
        if now >= self._next_sync:
            self._next_sync = now + self._sync_period
            messages = self._told_to_hpa(backlog)
            if messages is not None:
                self.wanted, self._history = hpa.sync(
                    self.scaling, self._history, now=now, replicas=self.wanted, messages=messages
                )
        return self.wanted

    def _told_to_hpa(self, backlog: keda.Backlog | None) -> int | None:
        """Returns the metric; after too many failed looks one that asks for the replicas of the fallback.

        KEDA counts all of them, its own polls and the HPA's (`GetMetricsWithFallback` in `pkg/fallback/fallback.go`),
        and so comes from no replica to one; the HPA does not look while there is none.
        """
        if self.wanted == 0:
            return None
        if backlog is not None:
            self._failures = 0
            return keda.metric(self.scaling, backlog)
        self._failures += 1
        if not self._falls_back:
            return None
        return max(self.wanted, self.scaling.fallback.replicas) * self.scaling.queue_length

    @property
    def _falls_back(self) -> bool:
        fallback = self.scaling.fallback
        return fallback.replicas > 0 and self._failures > fallback.failure_threshold

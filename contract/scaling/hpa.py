"""What the Kubernetes HorizontalPodAutoscaler decides from an external metric with an AverageValue target.

Source: Kubernetes 1.35, `pkg/controller/podautoscaler`: `GetExternalPerPodMetricReplicas` (the recommendation),
`stabilizeRecommendationWithBehaviors` and `convertDesiredReplicasWithBehaviorRate` (windows and policies); documented
as "Algorithm details" and "Configurable scaling behavior" of Horizontal Pod Autoscaling. KEDA gives it `queueLength` as
the target and `max(1, minReplicaCount)` as its minimum. Pods that are not ready yet count as replicas, as with every
external metric, so that a slow node start does not make it ask again.

Where no `behavior` is given at all, the controller has older rules (`stabilizeRecommendation` and
`convertDesiredReplicasWithRules`): the highest recommendation of the last five minutes in both directions, so that one
message soon after a burst starts as many replicas as the burst did; and at most max(2n, 4) of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from contract.scaling.settings import PolicyType, Rules, Scaling, SelectPolicy

OLD_WINDOW: Final = 300.0
"""Seconds: `--horizontal-pod-autoscaler-downscale-stabilization`, by default."""

SYNC_PERIOD: Final = 15.0
"""Seconds between two decisions: `--horizontal-pod-autoscaler-sync-period`, which EKS does not let anybody change."""


@dataclass(frozen=True, slots=True)
class History:
    """What the controller remembers; times are those of the decisions, newest last."""

    recommendations: tuple[tuple[float, int], ...] = ()
    """Before windows and policies."""
    changes: tuple[tuple[float, int], ...] = ()
    """Replicas added (positive) or removed."""


def recommend(scaling: Scaling, *, replicas: int, messages: int) -> int:
    """Returns the replicas that the metric asks for, before windows, policies and limits."""
    if replicas > 0:
        ratio = messages / (scaling.queue_length * replicas)
        behaviour = scaling.behaviour
        if 1 - behaviour.scale_down.tolerance <= ratio <= 1 + behaviour.scale_up.tolerance:
            return replicas
    return math.ceil(messages / scaling.queue_length)


def scales_in(scaling: Scaling) -> bool:
    """Tells whether an empty queue ever makes it take replicas away."""
    rules = scaling.behaviour.scale_down
    return rules.select_policy is not SelectPolicy.DISABLED and rules.tolerance < 1


def sync(scaling: Scaling, history: History, *, now: float, replicas: int, messages: int) -> tuple[int, History]:
    """Decides once; comes every `SYNC_PERIOD`.

    Args:
        scaling: the settings.
        history: as this function returned it.
        now: monotonic seconds.
        replicas: wanted at present.
        messages: the metric.

    Returns:
        The replicas that are wanted now, and the history.
    """
    if replicas == 0:  # scaling is disabled at zero; KEDA takes the first step
        return 0, history
    least = max(1, scaling.min_replica_count)
    if replicas > scaling.max_replica_count:
        wanted = scaling.max_replica_count
        recommendations = history.recommendations
    elif replicas < least:
        wanted = least
        recommendations = history.recommendations
    else:
        recommended = recommend(scaling, replicas=replicas, messages=messages)
        before = history.recommendations or ((now, replicas),)  # a controller that has just started holds still
        if scaling.has_behaviour:
            stable = _stabilized(scaling, before, now=now, replicas=replicas, recommended=recommended)
            wanted = _limited(scaling, history, now=now, replicas=replicas, wanted=stable, least=least)
        else:
            stable = max(recommended, *(past for moment, past in before if now - moment < OLD_WINDOW), 0)
            wanted = max(least, min(stable, max(2 * replicas, 4), scaling.max_replica_count))
        recommendations = (*_kept(before, now, _longest_window(scaling)), (now, recommended))
    changes = _kept(history.changes, now, _longest_period(scaling))
    if wanted != replicas:
        changes += ((now, wanted - replicas),)
    return wanted, History(recommendations, changes)


def _stabilized(
    scaling: Scaling, recommendations: tuple[tuple[float, int], ...], *, now: float, replicas: int, recommended: int
) -> int:
    """Goes up only to the lowest recommendation of the up window, and down only to the highest of the down window."""
    up = down = recommended
    for moment, past in recommendations:
        age = now - moment
        if age < (scaling.behaviour.scale_up.stabilization_window_seconds or 0):
            up = min(up, past)
        if age < (scaling.behaviour.scale_down.stabilization_window_seconds or 0):
            down = max(down, past)
    return min(max(replicas, up), down)


def _limited(scaling: Scaling, history: History, *, now: float, replicas: int, wanted: int, least: int) -> int:
    if wanted > replicas:
        limit = _limit(scaling.behaviour.scale_up, history, now=now, replicas=replicas, up=True)
        return min(wanted, scaling.max_replica_count, max(limit, replicas))
    if wanted < replicas:
        limit = _limit(scaling.behaviour.scale_down, history, now=now, replicas=replicas, up=False)
        return max(wanted, least, min(limit, replicas))
    return replicas


def _limit(rules: Rules, history: History, *, now: float, replicas: int, up: bool) -> int:
    """Returns how far the policies allow to go, from what there was when each one's period began."""
    if rules.select_policy is SelectPolicy.DISABLED:
        return replicas
    proposals = []
    for policy in rules.policies or ():
        began = replicas - sum(change for moment, change in history.changes if now - moment < policy.period_seconds)
        if policy.type is PolicyType.PODS:
            proposals.append(began + policy.value if up else began - policy.value)
        elif up:
            proposals.append(math.ceil(began * (1 + policy.value / 100)))
        else:
            proposals.append(int(began * (1 - policy.value / 100)))
    greatest = rules.select_policy is SelectPolicy.MAX
    return max(proposals) if greatest is up else min(proposals)


def _kept(entries: tuple[tuple[float, int], ...], now: float, seconds: int) -> tuple[tuple[float, int], ...]:
    return tuple(entry for entry in entries if now - entry[0] < seconds)


def _longest_window(scaling: Scaling) -> int:
    both = (scaling.behaviour.scale_up, scaling.behaviour.scale_down)
    return max(rules.stabilization_window_seconds or 0 for rules in both)


def _longest_period(scaling: Scaling) -> int:
    both = (scaling.behaviour.scale_up, scaling.behaviour.scale_down)
    return max(policy.period_seconds for rules in both for policy in rules.policies or ())

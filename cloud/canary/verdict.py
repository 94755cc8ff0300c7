"""Judges a canary by its own tasks beside those of the stable replicas in the same window; pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

CANARY: Final = "canary"
STABLE: Final = "stable"

_SURE_FAILURES: Final = 3
"""So many at least before the window's end: one may be a bad request, which fails anywhere."""

_Z: Final = 1.96
"""Of a 95 % confidence interval."""


@dataclass(frozen=True)
class Sample:
    """One task's end."""

    track: str
    """`canary` or `stable`."""
    succeeded: bool
    seconds: float | None
    """Of its generation; None when it has none."""


@dataclass(frozen=True)
class Limits:
    """What a canary may do worse, and how many tasks it takes to say so."""

    failed_points: float = 5.0
    """Percentage points by which its share of failed callbacks may be higher."""
    p95_factor: float = 1.25
    """Times which its 95th percentile of generation may be longer."""
    min_tasks: int = 20
    """Of each track, before a window can be passed."""


class Outcome(StrEnum):
    """What is to be done."""

    WAIT = "wait"
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Verdict:
    """An outcome, and the sentence that explains it."""

    outcome: Outcome
    reason: str


def judge(samples: Sequence[Sample], limits: Limits, *, over: bool) -> Verdict:
    """Returns what the samples of a window say.

    A canary that is surely worse fails at once: when even the lower end of the 95 % interval of its failed share
    (Wilson, 1927) is above what is allowed, and it is no single failure. All else is said at the end of the window.
    """
    canary = [sample for sample in samples if sample.track == CANARY]
    stable = [sample for sample in samples if sample.track == STABLE]
    failed, allowed = failed_share(canary), failed_share(stable) + limits.failed_points / 100
    figures = (
        f"canary: {len(canary)} tasks, {failed:.1%} failed, p95 {_seconds(canary)}; "
        f"stable: {len(stable)} tasks, {failed_share(stable):.1%} failed, p95 {_seconds(stable)}"
    )
    failures = sum(not sample.succeeded for sample in canary)
    if failures >= _SURE_FAILURES and wilson_lower(failures, len(canary)) > allowed:
        return Verdict(Outcome.FAIL, f"it fails more often ({figures})")
    if not over:
        return Verdict(Outcome.WAIT, figures)
    if min(len(canary), len(stable)) < limits.min_tasks:
        return Verdict(Outcome.UNDECIDED, f"it takes {limits.min_tasks} tasks of each to judge ({figures})")
    if failed > allowed:
        return Verdict(Outcome.FAIL, f"it fails more often ({figures})")
    slow, usual = p95(canary), p95(stable)
    if slow is not None and usual is not None and slow > usual * limits.p95_factor:
        return Verdict(Outcome.FAIL, f"it is slower ({figures})")
    return Verdict(Outcome.PASS, figures)


def failed_share(samples: Sequence[Sample]) -> float:
    """Returns the share of failed callbacks, 0 to 1; of no tasks none."""
    return sum(not sample.succeeded for sample in samples) / len(samples) if samples else 0.0


def p95(samples: Sequence[Sample]) -> float | None:
    """Returns the 95th percentile (nearest rank) of the seconds; None when there are none."""
    seconds = sorted(sample.seconds for sample in samples if sample.seconds is not None)
    return seconds[math.ceil(0.95 * len(seconds)) - 1] if seconds else None


def wilson_lower(hits: int, count: int) -> float:
    """Returns the lower end of the 95 % confidence interval of a share of `hits` in `count` (Wilson, 1927).

    Raises:
        ValueError: `count` is not positive.
    """
    if count <= 0:
        raise ValueError("a share of nothing has no interval")
    share, squared = hits / count, _Z * _Z
    centre = share + squared / (2 * count)
    spread = _Z * math.sqrt(share * (1 - share) / count + squared / (4 * count * count))
    # Clamped, because rounding may leave a trace beyond the ends.
    return min(share, max(0.0, (centre - spread) / (1 + squared / count)))


def _seconds(samples: Sequence[Sample]) -> str:
    found = p95(samples)
    return "unknown" if found is None else f"{found:.1f} s"

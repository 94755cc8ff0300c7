"""How often a running task's progress is written into its record: soon at first, then more rarely: each write costs."""

from __future__ import annotations

from typing import Final

FIRST_INTERVAL: Final = 2.0
"""Seconds of a run before its progress is written for the first time; most images never need a second write."""

LONGEST_INTERVAL: Final = 10.0


def progress_interval(age: float) -> float:
    """Returns the seconds to let pass between two writes: each half as long again as the one before, up to the longest.

    So progress is never older than two seconds and half the run's age, nor than ten seconds, besides the time to the
    next look at the record.

    Args:
        age: seconds of the run at the earlier of the two writes; 0 when there was none yet.
    """
    return min(LONGEST_INTERVAL, FIRST_INTERVAL + age / 2)


def progress_writes(seconds: float) -> int:
    """Returns how often at most the progress of a run of so many seconds is written."""
    writes, age = 0, progress_interval(0)
    while age < seconds:
        writes, age = writes + 1, age + progress_interval(age)
    return writes

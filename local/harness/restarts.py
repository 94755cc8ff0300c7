"""Decides how long to wait before a process that has died is started again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RestartPolicy:
    """Exponential backoff that forgets once a process has lived for a while. All times in seconds."""

    first: float = 0.5
    factor: float = 2.0
    longest: float = 15.0
    settled_after: float = 30.0

    def failures(self, before: int, lived: float) -> int:
        """Returns the number of deaths in a row, this one counted.

        Args:
            before: deaths in a row before this life.
            lived: how long this life was.
        """
        return 1 if lived >= self.settled_after else before + 1

    def delay(self, failures: int) -> float:
        """Returns how long to wait after so many deaths in a row (from 1)."""
        exponent = min(failures - 1, 32)  # no overflow, however long it goes on
        return min(self.first * self.factor**exponent, self.longest)

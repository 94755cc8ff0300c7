"""Percentiles of any number of times in little memory: counts in classes that grow by a thousandth."""

from __future__ import annotations

import math
from typing import Final

RESOLUTION: Final = 0.001
"""Relative; a percentile is off by half of it at most."""
SHORTEST: Final = 0.001
"""Seconds; anything shorter counts as nothing."""

_STEP: Final = math.log1p(RESOLUTION)


class Percentiles:
    """Counts times in seconds."""

    def __init__(self) -> None:
        self._classes: dict[int, int] = {}
        self.count = 0
        self.sum = 0.0
        self.highest = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        number = int(math.log(seconds / SHORTEST) / _STEP) + 1 if seconds > SHORTEST else 0
        self._classes[number] = self._classes.get(number, 0) + 1
        self.count += 1
        self.sum += seconds
        self.highest = max(self.highest, seconds)

    def add_all(self, other: Percentiles) -> None:
        """Counts what another has counted."""
        for number, count in other._classes.items():
            self._classes[number] = self._classes.get(number, 0) + count
        self.count += other.count
        self.sum += other.sum
        self.highest = max(self.highest, other.highest)

    @property
    def mean(self) -> float:
        """The mean; 0 without any."""
        return self.sum / self.count if self.count else 0.0

    def at(self, percent: float) -> float:
        """Returns the time that so many per cent do not exceed; 0 without any."""
        rank, seen = math.ceil(self.count * percent / 100), 0
        for number in sorted(self._classes):
            seen += self._classes[number]
            if seen >= rank:
                middle = SHORTEST * math.exp((number - 0.5) * _STEP) if number else 0.0
                return min(middle, self.highest)
        return 0.0

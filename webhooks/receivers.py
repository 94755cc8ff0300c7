"""Keeps a receiver that is slow or dead from taking what others need: room for attempts, and attempts at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

FAILURES: Final = 5
"""In a row, after which a receiver is left alone."""

FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 600.0
"""Seconds that it is left alone: doubled each time that it fails again."""

_REMEMBERED: Final = 10_000

type Receiver = tuple[str, str]
"""A tenant, and an origin: what one tenant does to a host that many use is no reason to leave out another one."""


@dataclass
class Breaker:
    """A circuit breaker: after some failures in a row, one attempt at a time is let through, and ever more rarely."""

    first_pause: float = FIRST_PAUSE
    failures: int = 0
    open_until: float = 0.0
    trying: bool = False
    """An attempt is under way that decides."""

    def wait(self, now: float) -> float:
        """Returns the seconds until an attempt is let through; 0: now."""
        if self.failures < FAILURES:
            return 0.0
        if self.trying:
            return max(1.0, self.open_until - now)
        return max(0.0, self.open_until - now)

    def note(self, *, succeeded: bool, now: float) -> None:
        """Takes notice of how an attempt ended."""
        self.trying = False
        if succeeded:
            self.failures, self.open_until = 0, 0.0
            return
        self.failures += 1
        if self.failures >= FAILURES:
            pause = min(LONGEST_PAUSE, self.first_pause * 2.0 ** min(self.failures - FAILURES, 20))
            self.open_until = now + pause


@dataclass
class Receivers:
    """All receivers, as this process knows them."""

    most: int
    """Attempts at once."""
    most_each: int
    """The same to one receiver. A tenant gets half of all; those who have no tenant, all."""
    first_pause: float = FIRST_PAUSE
    _breakers: dict[Receiver, Breaker] = field(default_factory=dict)
    _each: Counter[Receiver] = field(default_factory=Counter)
    _tenants: Counter[str] = field(default_factory=Counter)

    def pause(self, receiver: Receiver, now: float) -> float:
        """Returns for how many seconds a receiver is to be left alone since it fails; 0: it is not."""
        breaker = self._breakers.get(receiver)
        return breaker.wait(now) if breaker is not None else 0.0

    def has_room(self, receiver: Receiver) -> bool:
        """Tells whether one more attempt may begin."""
        tenant = receiver[0]
        if tenant and self._tenants[tenant] >= max(1, self.most // 2):
            return False
        return self._each[receiver] < self.most_each and self._tenants.total() < self.most

    @contextmanager
    def attempt(self, receiver: Receiver) -> Iterator[Breaker]:
        """Counts an attempt while the context lasts, and gives the breaker that is to hear of its end."""
        breaker = self._breakers.pop(receiver, None) or Breaker(self.first_pause)
        self._breakers[receiver] = breaker  # the newest last
        while len(self._breakers) > _REMEMBERED:
            self._breakers.pop(next(iter(self._breakers)))
        breaker.trying = breaker.failures >= FAILURES
        self._each[receiver] += 1
        self._tenants[receiver[0]] += 1
        try:
            yield breaker
        finally:
            breaker.trying = False
            self._each[receiver] -= 1
            self._tenants[receiver[0]] -= 1
            if not self._each[receiver]:
                del self._each[receiver]

    def left_alone(self, now: float) -> int:
        """Returns how many receivers are left alone just now."""
        return sum(breaker.wait(now) > 0 for breaker in self._breakers.values())

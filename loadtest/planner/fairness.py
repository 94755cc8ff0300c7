"""An SQS queue that is fair, as AWS documents it, for the planner.

Source: Amazon SQS developer guide, "How Amazon SQS fair queues work" (read in November 2026). It calls its thresholds
approximate, and does not say how recent "recent" is, nor which of several quiet tenants is served first: here the last
`RECENT` seconds count, and of quiet tenants the oldest message comes first.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from loadtest.planner.arrivals import Tagged

SHARE: Final = 0.1
"""Of messages in flight, or of processing time, above which a tenant is noisy …"""
LEAST_IN_FLIGHT: Final = 30
"""… of messages only with so many of its own."""
RECENT: Final = 300.0
"""Seconds in which processing time counts; an assumption."""
SILENCE: Final = 300.0
"""Seconds without a message of its own after which a tenant is quiet again."""


class FairQueue:
    """The messages that nobody holds, and what is known of those in flight.

    It stands where a `deque` of arrivals stands otherwise, and is told besides what is taken, ends and comes back.

    Args:
        clock: returns the time, in the seconds in which arrivals count.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: dict[str, deque[Tagged]] = {}
        self._count = 0
        self._sent: dict[str, float] = {}
        """When each tenant sent its last message."""
        self._in_flight: Counter[str] = Counter()
        self._received: dict[str, float] = {}
        """The sum of the moments at which the messages in flight were received."""
        self._ended: deque[tuple[float, str, float]] = deque()
        """When, whose, and how long it was in flight."""
        self._spent: dict[str, float] = {}
        """The sum of those."""
        self._noisy: set[str] = set()

    def __len__(self) -> int:
        return self._count

    def append(self, arrival: float) -> None:
        """Takes in a new message."""
        message = _message(arrival)
        self._sent[message.tenant] = message
        self._waiting.setdefault(message.tenant, deque()).append(message)
        self._count += 1

    def extendleft(self, arrivals: Iterable[float]) -> None:
        """Takes in messages that were in flight, each before all others of its tenant."""
        for message in map(_message, arrivals):
            self._waiting.setdefault(message.tenant, deque()).appendleft(message)
            self._count += 1

    def popleft(self) -> float:
        """Hands out the message whose turn it is."""
        tenant = self._next()
        line = self._waiting[tenant]
        message = line.popleft()
        self._count -= 1
        if not line:
            del self._waiting[tenant]
            self._noisy.discard(tenant)
        self.took(message)
        return message

    def took(self, arrival: float) -> None:
        """Notes that a message is in flight."""
        message = _message(arrival)
        message.received = self._clock()
        tenant = message.tenant
        self._sent[tenant] = max(message, self._sent.get(tenant, 0.0))
        self._in_flight[tenant] += 1
        self._received[tenant] = self._received.get(tenant, 0.0) + message.received

    def ended(self, arrival: float) -> None:
        """Notes that a message is in flight no more: it was deleted, or comes back."""
        message = _message(arrival)
        tenant, now = message.tenant, self._clock()
        seconds = now - message.received
        self._in_flight[tenant] -= 1
        self._received[tenant] -= message.received
        self._ended.append((now, tenant, seconds))
        self._spent[tenant] = self._spent.get(tenant, 0.0) + seconds

    def _next(self) -> str:
        self._judge()
        quiet = [tenant for tenant in self._waiting if tenant not in self._noisy]
        if quiet:
            return min(quiet, key=lambda tenant: self._waiting[tenant][0])
        return min(self._waiting, key=lambda tenant: (self._in_flight[tenant], self._waiting[tenant][0]))

    def _judge(self) -> None:
        now = self._clock()
        while self._ended and self._ended[0][0] < now - RECENT:
            _, tenant, seconds = self._ended.popleft()
            self._spent[tenant] -= seconds
        spent = {
            tenant: self._spent.get(tenant, 0.0) + self._in_flight[tenant] * now - received
            for tenant, received in self._received.items()
        }
        everybody, in_flight = sum(spent.values()), self._in_flight.total()
        for tenant in self._waiting:
            if now - self._sent[tenant] >= SILENCE:
                self._noisy.discard(tenant)
            mine = self._in_flight[tenant]
            many = mine >= LEAST_IN_FLIGHT and mine > SHARE * in_flight
            # A message without a tenant counts as a tenant of its own.
            if tenant and (many or spent.get(tenant, 0.0) > SHARE * everybody):
                self._noisy.add(tenant)


def _message(arrival: float) -> Tagged:
    if not isinstance(arrival, Tagged):
        raise TypeError("a fair queue holds arrivals with their tenants")
    return arrival

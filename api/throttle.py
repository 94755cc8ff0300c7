"""A token bucket for each API key, as API Gateway's usage plans have.

The buckets live in this process: behind a load balancer each replica of the API grants the whole rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class Throttle:
    """Admits `burst` requests at once and `rate` per second after that, for each owner.

    Args:
        rate: requests per second.
        burst: the bucket's size in requests.
        clock: returns seconds that never go back.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, owner: str) -> float:
        """Takes one token of the owner's bucket; returns 0, or the seconds until there is one again."""
        now = self._clock()
        bucket = self._buckets.get(owner)
        if bucket is None:
            # Owners are the known keys, so this cannot grow without end.
            bucket = self._buckets[owner] = _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + max(0.0, now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        # A hair less than one token is one: who waited exactly as long as told must not fail by a rounding error.
        if bucket.tokens >= 1 - 1e-6:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / self._rate

"""Asks how tasks stand, round by round: at a bounded rate, and never waiting for an answer before the next question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import gevent
from gevent.pool import Pool

from loadtest.tasks import Task

_AT_ONCE: Final = 16
"""Questions that are under way together."""
_ROUND: Final = 0.1
"""Seconds that a round takes at least: nobody is asked more often."""
_SHARE: Final = 1 / 3
"""Of the API key's rate: submissions need the rest."""
_SLOWEST: Final = 1.0
_FASTEST: Final = 100.0
"""Questions a second of all processes; more would measure the questions."""


def polling_rate(limit: float, workers: int) -> float:
    """Returns the questions per second of one of so many processes, under the API key's rate limit (per second)."""
    return min(_FASTEST, max(_SLOWEST, limit * _SHARE)) / workers


def poll(under_way: Callable[[], Sequence[Task]], ask: Callable[[Task], None], rate: float) -> None:
    """Asks for ever.

    With n tasks under way each is asked every n / `rate` seconds: by so much an end may be learnt late.

    Args:
        under_way: returns the tasks to ask about.
        ask: asks about one.
        rate: questions per second at most.
    """
    asking = Pool(_AT_ONCE)
    try:
        while True:
            pause = gevent.spawn(gevent.sleep, _ROUND)
            for task in under_way():
                asking.spawn(ask, task)
                gevent.sleep(1 / rate)
            gevent.joinall([pause])
            asking.join()
    finally:
        asking.kill(timeout=1)

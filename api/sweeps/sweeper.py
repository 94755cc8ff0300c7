"""Runs the sweeps beside the requests, whatever AWS does meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from api.aws import UNAVAILABLE
from api.sweeps.deadlines import Deadlines
from api.sweeps.expiry import Expiry
from api.sweeps.undelivered import Undelivered

_FIRST_AFTER: Final = 60.0
"""Seconds from the start of a process, which has better things to do then."""

_AGAIN_AFTER: Final = 30.0
"""Seconds after a failure; doubled each time."""

_LONGEST_WAIT: Final = 600.0

_Sweep = Callable[[], Awaitable[float]]
_Wait = Callable[[float], Awaitable[None]]

_log = structlog.get_logger(__name__)


class Sweeper:
    """The sweeps of one process.

    Args:
        expiry: the sweep for expired tasks.
        expiry_interval: seconds between two of them.
        undelivered: the sweep for undelivered tasks.
        undelivered_interval: seconds between two of them.
        deadlines: the sweep for tasks that were to begin by now.
        deadlines_interval: seconds between two looks for those that other processes have accepted.
    """

    def __init__(
        self,
        *,
        expiry: Expiry,
        expiry_interval: float,
        undelivered: Undelivered,
        undelivered_interval: float,
        deadlines: Deadlines,
        deadlines_interval: float,
    ) -> None:
        self._sweeps: tuple[tuple[_Sweep, _Wait, float, str], ...] = (
            (expiry.sweep, asyncio.sleep, expiry_interval, "expired tasks"),
            (undelivered.sweep, asyncio.sleep, undelivered_interval, "undelivered tasks"),
            (deadlines.sweep, deadlines.wait, deadlines_interval, "tasks that were to begin"),
        )

    async def run(self) -> None:
        """Sweeps until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sweep, wait, interval, what in self._sweeps:
                group.create_task(_repeat(sweep, wait, interval, what))


def wait_after(failures: int, interval: float) -> float:
    """Returns seconds until the next try, after so many failures in a row.

    Args:
        failures: 1 or more.
        interval: seconds between two sweeps.
    """
    return min(_LONGEST_WAIT, min(_AGAIN_AFTER, interval) * 2.0 ** min(failures - 1, 30))


async def _repeat(sweep: _Sweep, pause: _Wait, interval: float, what: str) -> None:
    # Processes that start together need not sweep together.
    failures, wait = 0, min(_FIRST_AFTER, interval) * random.uniform(0.5, 1)  # noqa: S311 - no secret
    while True:
        await pause(wait)
        try:
            wait = await sweep()
        except Exception as error:  # noqa: BLE001 - the next one may do better
            failures += 1
            wait = wait_after(failures, interval)
            if isinstance(error, UNAVAILABLE):
                _log.warning("cannot sweep now", what=what, error=repr(error), again_in=round(wait))
            else:
                _log.exception("cannot sweep", what=what)
        else:
            failures = 0

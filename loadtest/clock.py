"""The one clock of a process: seconds since the epoch that never jump, whatever happens to the machine's time."""

from __future__ import annotations

import time


class Clock:
    """Starts at the machine's time and runs on by its monotonic clock."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def now(self) -> float:
        """Returns seconds since the epoch."""
        return time.monotonic() + self._ahead

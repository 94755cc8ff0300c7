"""An event loop whose time passes only when a test lets it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable


class _Selector(selectors.DefaultSelector):
    """Never waits: time moves on instead, up to a limit, and then the loop stops."""

    now = 0.0
    limit = 0.0
    stop: Callable[[], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or self.now + timeout > self.limit:
            self.now = self.limit
            self.stop()
        else:
            self.now += timeout
        return []


class SteppingLoop(asyncio.SelectorEventLoop):
    """Runs until nothing is left to do, or until some seconds have passed, which takes no time at all."""

    def __init__(self) -> None:
        self._steps = _Selector()
        super().__init__(self._steps)
        self._steps.stop = self.stop

    def time(self) -> float:
        """Returns the seconds that were let pass."""
        return self._steps.now

    def run_until_idle(self) -> None:
        """Runs all that can go on without any time."""
        self.pass_time(0.0)

    def pass_time(self, seconds: float) -> None:
        """Lets so many seconds pass, with all that becomes due in them."""
        self._steps.limit = self._steps.now + seconds
        self.run_forever()

"""Waits for something to become so: eagerly at first, then less and less often, and never for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cloud.aws import ToolError

_FIRST: Final = 0.2
_GROWTH: Final = 1.5


def wait_until[T](check: Callable[[], T | None], *, what: str, within: float, at_most_every: float = 15.0) -> T:
    """Returns the first answer of `check` that is not None.

    Args:
        check: asked again and again.
        what: is waited for; ends the sentence "…did not come within 10 minutes".
        within: seconds.
        at_most_every: seconds between two questions, once it has been asked for a while.

    Raises:
        ToolError: time is up.
    """
    deadline = time.monotonic() + within
    pause = _FIRST
    while (found := check()) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ToolError(f"{what} did not come within {_readable(within)}")
        time.sleep(min(pause, left))
        pause = min(pause * _GROWTH, at_most_every)
    return found


def _readable(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:g} seconds"

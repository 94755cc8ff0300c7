"""How many answers may wait for S3 at once: enough that the GPU never waits, few enough for memory and for a crash.

An agent that dies loses the answers that it has not stored; their tasks are generated again. So what counts is not how
many they are, but how long they took.
"""

from __future__ import annotations

import asyncio
from typing import Final

from agent.pace import recent

LEAST: Final = 4
"""Answers that may wait, however long they took."""

FEWEST: Final = 2
"""Answers that may wait, however large they are: one is stored while the next one is made."""

HEAVY: Final = 256_000_000
"""Bytes of memory that more than `FEWEST` of them may take."""

MOST: Final = 10
"""Answers that may wait when they are quick and small: as many as are made ready ahead."""

SECONDS: Final = 1.0
"""Of the runtime's time that more than `LEAST` of them may be worth."""

BYTES: Final = 16_000_000
"""Of memory that more than `LEAST` of them may take."""


class Results:
    """The places of answers that are under way or wait for S3. With all taken, nothing is started."""

    def __init__(self) -> None:
        self._taken = 0
        self._seconds: float | None = None
        self._size: float | None = None
        self._changed = asyncio.Event()

    async def acquire(self) -> None:
        """Takes a place for a run that is to begin, and waits for it."""
        while self._taken >= places(self._seconds, self._size):
            self._changed.clear()
            await self._changed.wait()
        self._taken += 1

    def release(self) -> None:
        """Gives a place back: its answer is stored, or there is none."""
        self._taken -= 1
        self._changed.set()

    def note(self, seconds: float, size: int) -> None:
        """Notes how long a run took, and how many bytes its answer has."""
        self._seconds = recent(self._seconds, seconds)
        self._size = recent(self._size, size)
        self._changed.set()


def places(seconds: float | None, size: float | None) -> int:
    """Returns how many answers may wait for S3 at once.

    Args:
        seconds: that runs took of late; None when that is not known.
        size: bytes that answers had of late; None when that is not known.
    """
    if seconds is None or size is None:
        return LEAST
    least = max(FEWEST, min(LEAST, int(HEAVY / max(size, HEAVY / LEAST))))
    return max(least, min(MOST, int(SECONDS / max(seconds, SECONDS / MOST)), int(BYTES / max(size, BYTES / MOST))))

"""Keeps an answer for a moment, so that many who ask at once cost one question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Recent[T]:
    """The latest answer to one question.

    Args:
        ask: gets a new one.
        seconds: how long one is good.
        clock: seconds, monotonic.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], *, seconds: float, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._answer: tuple[T, float] | None = None

    async def get(self) -> T:
        """Returns the answer, asked for anew when the last one is too old; what `ask` raises is not kept."""
        async with self._lock:
            if self._answer is None or self._clock() - self._answer[1] >= self._seconds:
                self._answer = (await self._ask(), self._clock())
            return self._answer[0]

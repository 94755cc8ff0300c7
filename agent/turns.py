"""The order in which the runtime comes to the runs that were sent to it: one at a time, first come, first served.

With one slot there is one run, and it is always its turn. With more, a run's time counts from the moment at which the
one before it has ended; until then it waits at the server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from agent.holdings import Held


class Turn:
    """One run's place in the order."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once every run before this one has ended."""
        self._came_at = 0.0
        self.void = False
        """The server went away while this run waited: it is not to blame."""

    @property
    def elapsed(self) -> float:
        """Seconds since its turn came; 0 before."""
        return time.monotonic() - self._came_at if self.came.done() else 0.0

    def call(self) -> None:
        """Says that its turn has come."""
        if not self.came.done():
            self._came_at = time.monotonic()
            self.came.set_result(None)

    def is_innocent(self) -> bool:
        """Whether the run had not begun, as far as can be told, when the server went away."""
        return self.void or not self.came.done()


class Turns:
    """The runs at the server, in order."""

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self.arriving = 0
        """Ended runs whose answers the server still sends."""
        self._none = asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._turns)

    def __iter__(self) -> Iterator[Turn]:
        return iter(list(self._turns))

    @property
    def head(self) -> Turn | None:
        """The run whose turn it is."""
        return self._turns[0] if self._turns else None

    def take(self, held: Held) -> Turn:
        """Returns a place at the end of the order, for a run that is sent now."""
        turn = Turn(held)
        self._turns.append(turn)
        self._none.clear()
        self._turns[0].call()
        return turn

    def leave(self, turn: Turn, *, arriving: bool) -> None:
        """Says that a run has ended, whether its turn had come or not.

        Args:
            turn: its place.
            arriving: whether its answer is still to come; `arrived` follows then.
        """
        self._turns.remove(turn)
        self.arriving += arriving
        if self._turns:
            self._turns[0].call()
        self._judge()

    def arrived(self) -> None:
        """Says that an answer is here, or will not come."""
        self.arriving -= 1
        self._judge()

    def void(self) -> None:
        """Says that the server went away: it never came to the runs that wait."""
        for turn in self._turns:
            turn.void = turn.void or not turn.came.done()

    async def wait_until_none(self) -> None:
        """Returns once no run is at the server, and no answer comes from it."""
        await self._none.wait()

    def _judge(self) -> None:
        if not self._turns and not self.arriving:
            self._none.set()

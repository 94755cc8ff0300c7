"""How much of what a runtime answers this agent takes into its memory; more is an error of the task, not its death."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from agent.errors import PermanentError

MOST_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one answer, unless `OUTPUT_MAX_BYTES` says otherwise: its JSON and all files that it names."""

LARGE: Final = 16 * 1024 * 1024
"""Bytes from which on answers are received one after the other, whatever else is under way."""

MOST_VALUES: Final = 1_000_000
"""Values of a JSON answer. As Python objects, the smallest take twenty times the memory of their text."""

MOST_OUTPUTS: Final = 10_000
"""Outputs of one task: a record names each of them, and so does every answer that shows it."""

TOO_LARGE: Final = "answer_too_large"
"""The code of the error that more is."""


class Allowance:
    """What one answer may still bring. Several parts of it may come at once.

    Args:
        title: what messages call the server.
        most: bytes.
        turn: held by the one large answer that is being received.
    """

    def __init__(self, title: str, most: int, turn: asyncio.Lock) -> None:
        self._title = title
        self._most = most
        self._turn = turn
        self._asking = asyncio.Lock()
        self._has_turn = False
        self._taken = 0

    def check(self, more: int) -> None:
        """Checks whether there is room for so many bytes more.

        Raises:
            PermanentError: there is not.
        """
        if self._taken + more > self._most:
            raise too_large(self._title, self._most)

    async def take(self, more: int) -> None:
        """Counts bytes that have come; waits for another large answer when they make this one large.

        Raises:
            PermanentError: they are too many.
        """
        self.check(more)
        self._taken += more
        if self._taken > LARGE and not self._has_turn:
            async with self._asking:
                if not self._has_turn:
                    await self._turn.acquire()
                    self._has_turn = True

    def give_back(self) -> None:
        """Lets the next large answer come."""
        if self._has_turn:
            self._has_turn = False
            self._turn.release()


class Allowances:
    """The allowances of all answers of one server.

    Args:
        title: what messages call it.
        most: bytes of one answer.
    """

    def __init__(self, title: str, most: int) -> None:
        self._title = title
        self.most = most
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def one(self, most: int | None = None) -> AsyncIterator[Allowance]:
        """Gives the allowance of an answer that is received within the context; of fewer bytes where `most` says so."""
        allowance = Allowance(self._title, self.most if most is None else min(most, self.most), self._turn)
        try:
            yield allowance
        finally:
            allowance.give_back()


def too_large(title: str, most: int) -> PermanentError:
    """Returns the error of an answer of too many bytes."""
    return PermanentError(
        TOO_LARGE,
        f"{title} answered with more than {most} bytes, all outputs of the task together; ask for fewer or smaller "
        "ones, or raise OUTPUT_MAX_BYTES, and the agent's memory to four times that",
    )


def check_outputs(count: int, title: str) -> None:
    """Checks that a run has not made too many outputs.

    Raises:
        PermanentError: it has.
    """
    if count > MOST_OUTPUTS:
        raise PermanentError(
            "too_many_outputs", f"{title} made {count} outputs, and a task may have {MOST_OUTPUTS}; ask for fewer"
        )


def check_values(text: bytes | str, title: str) -> None:
    """Checks, before JSON is read, that it is not made of too many values.

    Raises:
        PermanentError: it is.
    """
    if len(text) <= MOST_VALUES:
        return
    find = text.find if isinstance(text, str) else lambda mark, start: text.find(mark.encode(), start)
    left = MOST_VALUES
    for mark in ",[{":
        position = find(mark, 0)
        # From one to the next, and not `count`: in base64, where there are none, that is ten times as fast.
        while position >= 0 and left >= 0:
            left -= 1
            position = find(mark, position + 1)
    if left < 0:
        raise PermanentError(
            TOO_LARGE, f"{title} answered with JSON of more than {MOST_VALUES} values; ask for smaller outputs"
        )

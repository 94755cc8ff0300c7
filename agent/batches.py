"""Puts entries that become ready during one call to AWS together into the next one; what comes alone goes at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from agent.aws import CALL_TIMEOUT

MOST_ENTRIES: Final = 10
"""Entries of one batch call (Amazon SQS quotas, Amazon SNS quotas)."""

MOST_BYTES: Final = 256 * 1024
"""Bytes of all messages of one batch, attributes counted (the same)."""

type Outcome = Exception | None
"""What became of an entry: why it failed, or None."""


class Batches[Entry]:
    """One kind of call, of which one is under way at a time.

    A call costs this process, and the other side, about the same for ten entries as for one. So the more there is to
    do, the less it costs, and nothing ever waits for company.

    Args:
        send: makes one call for one entry or more; returns the outcome of each, or raises what all of them came to.
        weigh: the bytes that an entry takes of `MOST_BYTES`.
    """

    def __init__(
        self, send: Callable[[Sequence[Entry]], Awaitable[Sequence[Outcome]]], *, weigh: Callable[[Entry], int]
    ) -> None:
        self._send = send
        self._weigh = weigh
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def send(self, entry: Entry) -> None:
        """Sends an entry, alone or with others; returns once AWS has taken it. Cancelled before, it is not sent.

        Raises:
            Exception: what the call raised, or what AWS said of this entry.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, taken))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="batches")
        await taken

    async def _send_all(self) -> None:
        batch: list[tuple[Entry, asyncio.Future[None]]] = []
        try:
            while batch := self._next():
                outcomes = await self._call([entry for entry, _ in batch])
                for (_, taken), outcome in zip(batch, outcomes, strict=True):
                    if taken.done():
                        continue
                    if outcome is None:
                        taken.set_result(None)
                    else:
                        taken.set_exception(outcome)
        finally:
            self._sending = None
            for _, taken in (*batch, *self._waiting):
                taken.cancel()

    async def _call(self, entries: Sequence[Entry]) -> Sequence[Outcome]:
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                return await self._send(entries)
        except Exception as error:  # noqa: BLE001 - each entry's sender gets it
            return [error] * len(entries)

    def _next(self) -> list[tuple[Entry, asyncio.Future[None]]]:
        """Takes the entries of the next call; nobody waits for an entry whose future is done."""
        batch: list[tuple[Entry, asyncio.Future[None]]] = []
        left = MOST_BYTES
        while self._waiting and len(batch) < MOST_ENTRIES:
            entry, taken = self._waiting[0]
            if not taken.done():
                left -= self._weigh(entry)
                if batch and left < 0:
                    break
                batch.append((entry, taken))
            self._waiting.popleft()
        return batch

"""Makes one call to AWS for entries that become ready at about the same time; what comes alone goes at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from agent.aws import CALL_TIMEOUT, is_outage

MOST_ENTRIES: Final = 10
"""Entries of one batch call (Amazon SQS quotas, Amazon SNS quotas)."""

MOST_BYTES: Final = 256 * 1024
"""Bytes of all messages of one batch, attributes counted (the same)."""

type Outcome = Exception | None
"""What became of an entry: why it failed, or None."""


class Batches[Entry]:
    """One kind of call, of which one is under way at a time.

    A call costs this process, and the other side, about the same for ten entries as for one. So what comes during a
    call goes together with the next one, and while others are known to be on their way, it waits for them a moment.

    Args:
        send: makes one call for one entry or more; returns the outcome of each, or raises what all of them came to:
            refused as a whole, they are sent one by one.
        weigh: the bytes that an entry takes of `MOST_BYTES`.
        expected: how many entries are here or on their way.
        linger: seconds to wait for those at most.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Entry]], Awaitable[Sequence[Outcome]]],
        *,
        weigh: Callable[[Entry], int],
        expected: Callable[[], int],
        linger: float,
    ) -> None:
        self._send = send
        self._weigh = weigh
        self._expected = expected
        self._linger = linger
        self._came = asyncio.Event()
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def send(self, entry: Entry) -> None:
        """Sends an entry, alone or with others; returns once AWS has taken it. Cancelled before, it is not sent.

        Raises:
            Exception: what the call raised, or what AWS said of this entry.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, taken))
        self._came.set()
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(), name="batches")
        await taken

    async def _send_all(self) -> None:
        batch: list[tuple[Entry, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                await self._wait_for_company()
                batch = self._next()
                if not batch:
                    continue
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
            if len(entries) == 1 or is_outage(error):
                return [error] * len(entries)
        # One of them may be why all were refused: alone, it harms no other.
        return [outcome for entry in entries for outcome in await self._call([entry])]

    async def _wait_for_company(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._linger):
                while len(self._waiting) < min(MOST_ENTRIES, self._expected()):
                    self._came.clear()
                    await self._came.wait()

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

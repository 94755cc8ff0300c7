"""Makes one call to AWS for entries that become ready at about the same time; what comes alone goes at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from botocore.exceptions import ClientError

from contract.outages import is_outage

MOST_ENTRIES: Final = 10
"""Entries of one batch call (Amazon SQS quotas, Amazon SNS quotas)."""

MOST_BYTES: Final = 256 * 1024
"""Bytes of all messages of one batch, attributes counted (the same). A larger message, which a topic may take, goes
alone."""

_UNANSWERED: Final = {
    "Code": "Unanswered",
    "Message": "the answer says nothing of this entry",
    "SenderFault": False,
}
"""What stands for an entry that a batch's answer names neither as taken nor as failed."""

type Outcome = Exception | None
"""What became of an entry: why it failed, or None."""


class Batches[Entry]:
    """One kind of call, of which only so many are under way at a time.

    A call costs this process, and the other side, about the same for ten entries as for one. So what comes while all
    are under way goes together with the next one, and while others are known to be on their way, it waits for them a
    moment.

    Args:
        send: makes one call for one entry or more; returns the outcome of each, or raises what all of them came to:
            refused as a whole, they are sent one by one.
        weigh: the bytes that an entry takes of `MOST_BYTES`.
        seconds: that a call may take.
        parallel: calls that may be under way at a time.
        expected: how many entries are here or on their way.
        linger: seconds to wait for those at most.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Entry]], Awaitable[Sequence[Outcome]]],
        *,
        weigh: Callable[[Entry], int],
        seconds: float,
        parallel: int = 1,
        expected: Callable[[], int] = lambda: 0,
        linger: float = 0.0,
    ) -> None:
        self._send = send
        self._weigh = weigh
        self._seconds = seconds
        self._parallel = parallel
        self._expected = expected
        self._linger = linger
        self._came = asyncio.Event()
        self._waiting: deque[tuple[Entry, asyncio.Future[None]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def send(self, entry: Entry) -> None:
        """Sends an entry, alone or with others; returns once AWS has taken it. Cancelled before, it is not sent.

        Raises:
            Exception: what the call raised, or what AWS said of this entry.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, taken))
        self._came.set()
        if len(self._senders) < self._parallel:
            sender = asyncio.create_task(self._send_all(), name="batches")
            self._senders.add(sender)
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
            if (sender := asyncio.current_task()) is not None:
                self._senders.discard(sender)
            for _, taken in batch if self._senders else (*batch, *self._waiting):
                taken.cancel()

    async def _call(self, entries: Sequence[Entry]) -> Sequence[Outcome]:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._send(entries)
        except Exception as error:  # noqa: BLE001 - each entry's sender gets it
            if len(entries) == 1 or is_outage(error):
                return [error] * len(entries)
        # One of them may be why all were refused: alone, it harms no other.
        return [outcome for entry in entries for outcome in await self._call([entry])]

    async def _wait_for_company(self) -> None:
        if not self._linger:
            return
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


def entry_failures(answer: Any, count: int, operation: str, *, final: tuple[str, ...] = ()) -> list[ClientError | None]:
    """Returns what SQS or SNS said of each entry of a batch whose ids are 0 … `count` - 1: its failure, or None.

    Taken is only what the answer calls so. An entry of which it says nothing was not taken, as far as anybody knows:
    its failure is one that passes, and the entry is sent again.

    Args:
        answer: of the batch call.
        count: its entries.
        operation: its name.
        final: beginnings of codes that are the sender's fault, whatever the answer says.
    """
    taken = {item.get("Id") for item in answer.get("Successful") or ()}
    failed = {item.get("Id"): item for item in answer.get("Failed") or ()}
    failures: list[ClientError | None] = []
    for number in map(str, range(count)):
        if number in failed:
            failures.append(_failure(failed[number], operation, final))
        else:
            failures.append(None if number in taken else _failure(_UNANSWERED, operation))
    return failures


def _failure(item: Mapping[str, Any], operation: str, final: tuple[str, ...] = ()) -> ClientError:
    code = item.get("Code", "")
    is_final = item.get("SenderFault", True) or code.startswith(final)
    return ClientError(
        {
            "Error": {"Code": code, "Message": item.get("Message", "")},
            "ResponseMetadata": {"HTTPStatusCode": 400 if is_final else 500},  # type: ignore[typeddict-item]
        },
        operation,
    )

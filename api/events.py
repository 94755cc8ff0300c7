"""Server-sent events of one task, from where it stands until it has ended.

Each event carries the whole state, so a client that lost some has lost nothing, and to resume is to be told the newest
state unless `Last-Event-ID` says that it is known (HTML Living Standard, section 9.2, "Server-sent events").
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import Gauge

from api.errors import ApiError
from api.tasks import Tasks
from contract.documents import encode
from contract.record import Record, Submission

KEEP_ALIVE_SECONDS: Final = 15.0
"""Shorter than the idle limits of the usual proxies (60 s at an Application Load Balancer)."""

FIRST_POLL_SECONDS: Final = 0.25
SLOWEST_POLL_SECONDS: Final = 2.0

KEEP_ALIVE: Final = b": keep-alive\n\n"


def event_id(submission: Submission) -> str:
    """Returns an id that changes whenever a client should be told."""
    return f"{submission.submission}.{submission.status}.{submission.attempts}.{submission.progress}"


def encode_event(name: str, data: object, identifier: str) -> bytes:
    """Returns one event in wire format; `data` becomes one line of JSON."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (
        name.encode(),
        identifier.encode(),
        encode(data),
    )


def next_poll(interval: float, *, changed: bool) -> float:
    """Returns the seconds until the next look: short while things move, growing while they do not."""
    return FIRST_POLL_SECONDS if changed else min(SLOWEST_POLL_SECONDS, interval * 1.3)


def has_seen_the_end(record: Record, last_event_id: str) -> bool:
    """Tells whether a client that comes back knows how the task ended; it is then told to stay away (204)."""
    return record.current.status.terminal and last_event_id == event_id(record.current)


async def task_changes(
    tasks: Tasks, record: Record, last_event_id: str, stopping: asyncio.Event
) -> AsyncIterator[Record | None]:
    """Yields a task's record each time that a client should be told, until it has ended or the server stops.

    None is a sign of life. The arguments are those of `task_events`.
    """
    seen, interval, silent = last_event_id, FIRST_POLL_SECONDS, 0.0
    while True:
        identifier = event_id(record.current)
        changed = identifier != seen
        if changed:
            seen, silent = identifier, 0.0
            yield record
        elif silent >= KEEP_ALIVE_SECONDS:
            silent = 0.0
            yield None
        if record.current.status.terminal or stopping.is_set():
            return
        interval = next_poll(interval, changed=changed)
        try:
            async with asyncio.timeout(interval):
                await stopping.wait()
                return
        except TimeoutError:
            silent += interval
        try:
            record = await tasks.read(record.ref)
        except ApiError as error:
            if error.status == 404:
                return
            # AWS is out of reach: the client keeps its stream, and hears when there is something to say.


async def task_events(
    tasks: Tasks, record: Record, last_event_id: str, stopping: asyncio.Event
) -> AsyncIterator[bytes]:
    """Yields the events of a task until it has ended or the server stops.

    Args:
        tasks: reads the record again and again.
        record: as it was read to answer the request.
        last_event_id: what the client has seen; empty: nothing.
        stopping: set when the server is about to end.
    """
    # The first bytes tell the client that the stream is open; `retry` is how soon it comes back, in milliseconds.
    yield b"retry: 1000\n\n"
    async for changed in task_changes(tasks, record, last_event_id, stopping):
        if changed is None:
            yield KEEP_ALIVE
        else:
            status, identifier = str(changed.current.status), event_id(changed.current)
            yield encode_event(status, await tasks.view(changed), identifier)


class Streams:
    """Counts the event streams that are open, of all and of each caller.

    Args:
        gauge: shows how many there are.
        most: that may be open at once. A caller with an API key gets half of them, so that others have the rest.
    """

    def __init__(self, gauge: Gauge, most: int) -> None:
        self._gauge = gauge
        self._most = most
        self._of: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """How many there are."""
        return self._of.total()

    def has_room(self, caller: str) -> bool:
        """Tells whether a caller may open one more; all who have no key are one, named by an empty text."""
        share = max(1, self._most // 2) if caller else self._most
        return self.open < self._most and self._of[caller] < share

    @contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Counts one stream of a caller while it is open."""
        self._count(caller, 1)
        try:
            yield
        finally:
            self._count(caller, -1)

    def _count(self, caller: str, change: int) -> None:
        self._of[caller] += change
        if not self._of[caller]:
            del self._of[caller]
        self._gauge.set(self.open)

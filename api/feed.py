"""One stream of server-sent events about all tasks of a tenant: however many read it, S3 is asked once.

    event: task     data: as `GET /v1/tasks/{id}` answers, each time that the task changes
    event: ready    what was unfinished at the beginning has been told
    event: reset    something may have been missed (the reader was away for long, or comes from another process of this
                    API): read the list anew

How much is asked does not grow with the number of tasks: see `api.following.due`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

import structlog
from prometheus_client import Counter
from pydantic import ValidationError

from api.aws import UNAVAILABLE
from api.discovery import Discovery
from api.events import KEEP_ALIVE, KEEP_ALIVE_SECONDS, encode_event, event_id
from api.following import FAST, KEPT_FOR, Cursor, EventLog, Followed, due
from contract.documents import encode
from contract.identifiers import TaskRef
from contract.record import Record
from contract.store import RecordStore, S3Client

TASK: Final = "task"
READY: Final = "ready"
RESET: Final = "reset"

LOOKS: Final = 15
"""Records that are asked for in one round of 0.5 s, for one tenant."""
_LOOKS_OF_ALL: Final = 100
"""For all of them together."""
_FIRST_LOOKS: Final = 700
"""In a tenant's first round, which finds out what there is."""
_AT_ONCE: Final = 16
_SECONDS: Final = 12
"""For one round's calls to S3."""

MOST_FOLLOWED: Final = 5000
"""Unfinished tasks of one tenant; what comes beyond is followed as soon as others have ended."""
_DISCOVERY_SECONDS: Final = 2.0
_AFTER_FAILURE_SECONDS: Final = 3.0

_LONGEST_VIEW: Final = 8 * 1024
"""Bytes of a task in an event; what is longer is shortened."""
_IMAGES: Final = 4

_REMEMBERED: Final = 5_000
"""Tasks of nobody who reads events that are remembered for when he does."""

_RESET_EVENT: Final = encode_event(RESET, {}, "")
"""Whoever is cut off after it begins from the start: it takes back the id of the event before."""

_log = structlog.get_logger(__name__)


class Views(Protocol):
    """The part of `api.tasks.Tasks` that is needed."""

    async def view(self, record: Record) -> dict[str, Any]:
        """Returns what `GET /v1/tasks/{id}` answers."""


class Feed:
    """The events of one tenant.

    Args:
        tenant: whose tasks are followed.
        store: of their records.
        views: what the events say.
        looks: returns how many records may be asked for in a round.
        counter: counts them.
        discovery: where tasks come from, whoever has accepted them.
    """

    def __init__(
        self,
        tenant: str,
        *,
        store: RecordStore,
        views: Views,
        looks: Callable[[], int],
        counter: Counter,
        discovery: Discovery,
    ) -> None:
        self._tenant = tenant
        self._discovery = discovery
        self._store = store
        self._views = views
        self._looks = looks
        self._counter = counter
        self._name = secrets.token_hex(4)
        self._followed: dict[str, Followed] = {}
        self._waiting: dict[str, None] = {}
        self._log = EventLog()
        self._ready = False
        self._news = asyncio.Condition()

    def note(self, task_id: str) -> None:
        """Follows a task from now on; looked at soon when it is followed already."""
        task = self._followed.get(task_id)
        if task is not None:
            task.looked_at = float("-inf")
        elif len(self._followed) < MOST_FOLLOWED:
            self._followed[task_id] = Followed(task_id)
        elif len(self._waiting) < _REMEMBERED:
            self._waiting[task_id] = None

    async def run(self) -> None:
        """Looks at the tasks, until cancelled."""
        loop = asyncio.get_running_loop()
        discovered_at = float("-inf")
        while True:
            began = loop.time()
            try:
                async with asyncio.timeout(_SECONDS):
                    if began - discovered_at >= _DISCOVERY_SECONDS:
                        await self._discover()
                        discovered_at = began
                    await self._look(began, self._looks() if self._ready else _FIRST_LOOKS)
                if not self._ready:
                    await self._tell_ready()
            except* UNAVAILABLE as errors:
                # The readers keep their streams, and hear when there is something to say.
                _log.warning("cannot follow the tasks", tenant=self._tenant, error=repr(errors.exceptions[0]))
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            except* Exception:  # noqa: BLE001 - a fault of ours with one record must not end everybody's events
                _log.exception("the events of a tenant failed", tenant=self._tenant)
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            await asyncio.sleep(max(FAST / 5, began + FAST - loop.time()))

    async def _discover(self) -> None:
        for entry in await self._discovery.new():
            task = self._followed.get(entry.id)
            current = task.known.record.current.submission if task and task.known else ""
            if current != entry.submission and not self._log.knows(entry.id, entry.submission):
                self.note(entry.id)

    async def _tell_ready(self) -> None:
        async with self._news:
            self._ready = True
            self._news.notify_all()

    async def _look(self, now: float, most: int) -> None:
        while self._waiting and len(self._followed) < MOST_FOLLOWED:
            task_id = next(iter(self._waiting))
            del self._waiting[task_id]
            self.note(task_id)
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(task: Followed) -> None:
            async with room:
                await self._look_at(task, now)

        async with asyncio.TaskGroup() as group:
            for task in due(self._followed.values(), now, most):
                group.create_task(one(task))

    async def _look_at(self, task: Followed, now: float) -> None:
        self._counter.inc()
        ref = TaskRef(task.id, self._tenant)
        try:
            found = await self._store.read(ref, known=task.known)
        except ValidationError:
            _log.exception("record unreadable", task_id=task.id)
            found = None
        if found is None:
            self._followed.pop(task.id, None)
        elif task.seen(found, now):
            await self._tell(found.record)

    async def _tell(self, record: Record) -> None:
        view = await self._views.view(record)
        ended, state = record.current.status.terminal, event_id(record.current)
        async with self._news:
            cursor = Cursor(self._name, self._log.number + 1)
            self._log.put(record.id, encode_event(TASK, shortened(view), str(cursor)), ended=ended, state=state)
            if ended:
                self._followed.pop(record.id, None)
            self._news.notify_all()

    async def events(self, last_event_id: str, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Yields the events from where a reader was, until the server stops.

        Args:
            last_event_id: of the last event that he has seen; empty: none. Then it begins with all unfinished tasks.
            stopping: set when the server is about to end.
        """
        yield b"retry: 1000\n\n"
        while not self._ready and not stopping.is_set():
            await self._wait(-1, stopping)
            yield KEEP_ALIVE
        cursor = Cursor.parse(last_event_id)
        seen = self._log.number
        if cursor is not None and cursor.log == self._name and self._log.forgotten <= cursor.number <= seen:
            first = self._log.since(cursor.number)
        else:
            first = self._log.unfinished()
            if last_event_id:
                first = [_RESET_EVENT, *first]
        first.append(encode_event(READY, {"unfinished": len(self._followed)}, str(Cursor(self._name, seen))))
        yield b"".join(first)
        while not stopping.is_set():
            if not await self._wait(seen, stopping):
                yield KEEP_ALIVE
                continue
            if seen < self._log.forgotten:
                yield _RESET_EVENT
            # Read together with its number: nothing comes between.
            seen, events = self._log.number, self._log.since(seen)
            yield b"".join(events)

    async def _wait(self, after: int, stopping: asyncio.Event) -> bool:
        """Waits for an event after one, a sign of life to be due, or the server's end; returns whether it came."""
        if not stopping.is_set():
            waiting = {asyncio.create_task(stopping.wait()), asyncio.create_task(self._newer(after))}
            try:
                await asyncio.wait(waiting, timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in waiting:
                    task.cancel()
        return self._log.number > after

    async def _newer(self, after: int) -> None:
        async with self._news:
            await self._news.wait_for(lambda: self._ready and self._log.number > after)


class Feeds:
    """The feeds of all tenants whose events are read now, or were a minute ago."""

    def __init__(self, *, s3: S3Client, bucket: str, store: RecordStore, views: Views, counter: Counter) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._store = store
        self._views = views
        self._counter = counter
        self._of: dict[str, Feed] = {}
        self._readers: dict[str, int] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._remembered: dict[TaskRef, None] = {}

    def note(self, task: TaskRef) -> None:
        """Notes a task that was submitted, or changed, by this process."""
        feed = self._of.get(task.tenant)
        if feed is not None:
            feed.note(task.id)
            return
        self._remembered.pop(task, None)
        self._remembered[task] = None
        if len(self._remembered) > _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]

    async def events(self, tenant: str, last_event_id: str, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Yields a tenant's events; see `Feed.events`."""
        feed = self._begin(tenant)
        self._readers[tenant] += 1
        try:
            async for event in feed.events(last_event_id, stopping):
                yield event
        finally:
            self._readers[tenant] -= 1
            if not self._readers[tenant]:
                asyncio.get_running_loop().call_later(KEPT_FOR.total_seconds(), self._end, tenant, feed)

    def _begin(self, tenant: str) -> Feed:
        feed = self._of.get(tenant)
        if feed is None:
            feed = self._of[tenant] = Feed(
                tenant,
                store=self._store,
                views=self._views,
                looks=lambda: max(1, min(LOOKS, _LOOKS_OF_ALL // len(self._of))),
                counter=self._counter,
                discovery=Discovery(self._s3, self._bucket, tenant),
            )
            self._readers[tenant] = 0
            for task in [task for task in self._remembered if task.tenant == tenant]:
                del self._remembered[task]
                feed.note(task.id)
        if tenant not in self._running or self._running[tenant].done():
            self._running[tenant] = asyncio.create_task(feed.run())
        return feed

    def _end(self, tenant: str, feed: Feed) -> None:
        """Ends a feed that nobody has read since."""
        if self._readers.get(tenant) or self._of.get(tenant) is not feed:
            return
        del self._of[tenant], self._readers[tenant]
        self._running.pop(tenant).cancel()

    async def close(self) -> None:
        """Ends all feeds, with the process."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def shortened(view: dict[str, Any]) -> dict[str, Any]:
    """Returns a task's view as an event carries it: one that is long loses its context and most of its images.

    `shortened` is in it then; `GET /v1/tasks/{id}` tells the whole.
    """
    if len(encode(view)) <= _LONGEST_VIEW:
        return view
    return {
        **view,
        "context": None,
        "images": view["images"][:_IMAGES],
        "warnings": view["warnings"][:1],
        "shortened": True,
    }

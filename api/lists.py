"""Lists tasks, the newest first, by the logs of `contract/task_log.py`: a handful of reads, and never a listing.

A line says which submission there was, and what never changes of it; how it stands is read from its record. Each task
is listed once, where its newest submission is. With nothing but states that the second log holds, that one is read.
Other states have to be looked for: then a page is what was found in a moment, and its cursor says where to go on.
"""

from __future__ import annotations

import asyncio
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson
import structlog
from pydantic import ValidationError

from api.aws import UNAVAILABLE
from api.errors import InvalidRequestError, UnavailableError
from api.tasks import SHOWN_IMAGES
from api.unknown_keys import unknown_key
from contract.documents import encode
from contract.identifiers import TaskRef, check_task_id
from contract.record import Record, Status
from contract.store import RecordStore, S3Client
from contract.task import TaskType
from contract.task_log import SUBMITTED, UNSUCCESSFUL, Entry, Segment, TaskLog, moment

MOST: Final = 200
"""Tasks of one page."""

USUAL: Final = 50
_LONGEST_LIMIT: Final = 9
"""Digits."""

BUDGET_SECONDS: Final = 0.12
"""After which a page ends though it is not full, where what is wanted has to be looked for."""

_SECONDS: Final = 12
_READING: Final = 32
"""Records at once, of all who ask."""

_LOOKED_AT: Final = 25
"""Records at once where states are looked for."""

_REMEMBERED: Final = 1000
_REMEMBERED_SECONDS: Final = 10.0
"""Records of tasks that have ended; they change only when the same id is submitted again."""

_SEGMENTS: Final = 64
"""Sealed segments that are remembered, some 20 KB each."""

_MOST_AHEAD: Final = 8
"""Segments that are read at once where many hold nothing that is wanted."""

_AFTER_ALL: Final = "9999"
"""Later than any line."""

_PARAMETERS: Final = (
    "status", "runtime", "tasktype", "since", "until", "id_prefix", "limit", "cursor", "tenant",
)  # fmt: skip

_ENDED_BADLY: Final = frozenset({Status.FAILED, Status.CANCELLED, Status.EXPIRED})

_log = structlog.get_logger(__name__)


class Cursor(NamedTuple):
    """Where a page ended: at which line of which log."""

    log: str
    seq: int
    at: str
    submission: str

    def encode(self) -> str:
        """Returns it as clients have it: opaque."""
        return urlsafe_b64encode(orjson.dumps(list(self))).rstrip(b"=").decode()


def parse_cursor(text: str) -> Cursor:
    """Reads a cursor.

    Raises:
        InvalidRequestError: it is none of ours.
    """
    with suppress(ValueError, TypeError):
        match orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4))):
            case [str(log), int(seq), str(at), str(submission)] if seq >= 0 and log in {SUBMITTED, UNSUCCESSFUL}:
                return Cursor(log, seq, at, submission)
    raise InvalidRequestError("cursor", "must be `next` of the page before, or be left out")


@dataclass(frozen=True, slots=True)
class Query:
    """Which tasks are wanted; what is empty wants all."""

    statuses: frozenset[Status] = frozenset()
    runtimes: frozenset[str] = frozenset()
    tasktypes: frozenset[str] = frozenset()
    since: str = ""
    until: str = ""
    """Submitted not before `since`, and before `until`; as lines have it."""
    id_prefix: str = ""
    limit: int = USUAL
    cursor: Cursor | None = None

    @property
    def log(self) -> str:
        """Which log has them."""
        return UNSUCCESSFUL if self.statuses and self.statuses <= _ENDED_BADLY else SUBMITTED

    @property
    def searches(self) -> bool:
        """Whether many lines may have to be read to find a task that is wanted."""
        return bool(self.id_prefix or self.runtimes or self.tasktypes or (self.statuses and self.log == SUBMITTED))

    def wants(self, entry: Entry) -> bool:
        """Tells whether a line may be of a task that is wanted; its record decides."""
        return (
            entry.submitted >= self.since
            and (not self.until or entry.submitted < self.until)
            and entry.id.startswith(self.id_prefix)
            and (not self.runtimes or entry.runtime in self.runtimes)
            and (not self.tasktypes or entry.tasktype in self.tasktypes)
            and (not self.statuses or not entry.status or entry.status in self.statuses)
        )

    def passed_by(self, segment: Segment) -> bool:
        """Tells whether all that is wanted is newer than a segment."""
        # What was submitted after `since` has ended after it too, whichever log this is.
        return bool(self.since and segment.lines) and at_of(segment.lines[-1]) < self.since


def at_of(line: bytes) -> str:
    """Returns when a line was, without reading all of it."""
    return line[2 : line.index(b'"', 2)].decode()


def parse_query(parameters: Mapping[str, str]) -> Query:
    """Reads the parameters of a request.

    Raises:
        InvalidRequestError: 400, naming the parameter.
    """
    for name in parameters:
        if name not in _PARAMETERS:
            raise InvalidRequestError(name[:80], unknown_key(name[:80], _PARAMETERS))
    query = Query(
        statuses=frozenset(Status(item) for item in _choices(parameters, "status", list(Status))),
        runtimes=frozenset(_choices(parameters, "runtime")),
        tasktypes=frozenset(_choices(parameters, "tasktype", list(TaskType))),
        since=_time(parameters, "since"),
        until=_time(parameters, "until"),
        id_prefix=parameters.get("id_prefix", ""),
        limit=_limit(parameters.get("limit")),
        cursor=parse_cursor(parameters["cursor"]) if parameters.get("cursor") else None,
    )
    if query.cursor is not None and query.cursor.log != query.log:
        raise InvalidRequestError("cursor", "belongs to a list of other states; leave it out, or ask for the same ones")
    return query


def _choices(parameters: Mapping[str, str], name: str, allowed: Sequence[str] = ()) -> list[str]:
    found = [item for item in (part.strip() for part in parameters.get(name, "").split(",")) if item]
    for item in found:
        if allowed and item not in allowed:
            known = ", ".join(allowed)
            raise InvalidRequestError(name, f"unknown {name} {item[:80]!r}; known are {known}", allowed=list(allowed))
    return found


def _time(parameters: Mapping[str, str], name: str) -> str:
    text = parameters.get(name, "")
    if not text:
        return ""
    try:
        # A plus that nobody has encoded comes as a space.
        time_ = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return moment(time_ if time_.tzinfo else time_.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(
            name, f"must be a time such as 2026-01-31T12:00:00Z (ISO 8601); found {text[:40]!r}"
        ) from error


def _limit(text: str | None) -> int:
    if not text:
        return USUAL
    # As long as it may be, and no longer: what is cut off would count, too.
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_LIMIT or not 1 <= int(text) <= MOST:
        raise InvalidRequestError("limit", f"must be a whole number from 1 to {MOST}; found {text[:40]!r}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, the newest first."""

    records: list[Record]
    cursor: Cursor | None
    """None: there are no more."""


class Lists:
    """Reads the lists of an output bucket.

    Args:
        s3: the client.
        bucket: the output bucket.
        store: the task records.
        context_bytes: a context of so many bytes of JSON stays in the records of a page; 0: none does.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        s3: S3Client,
        bucket: str,
        store: RecordStore,
        context_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._store = store
        self._context_bytes = context_bytes
        self._clock = clock
        self._reading = asyncio.Semaphore(_READING)
        self._ended: OrderedDict[tuple[TaskRef, str], tuple[Record, float]] = OrderedDict()
        self._sealed: OrderedDict[tuple[str, str, int], Segment] = OrderedDict()

    async def page(self, tenant: str, query: Query) -> Page:
        """Returns one page of a tenant's tasks.

        Raises:
            UnavailableError: S3 is out of reach.
        """
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._page(tenant, query)
        except UNAVAILABLE as error:
            _log.warning("cannot list tasks", error=repr(error))
            raise UnavailableError("the tasks could not be listed; try again") from error

    async def _page(self, tenant: str, query: Query) -> Page:
        until = self._clock() + (BUDGET_SECONDS if query.searches else _SECONDS)
        found: dict[str, Record] = {}
        named = await self._named(tenant, query)
        seen = {named.id} if named is not None else set[str]()
        if named is not None and query.cursor is None:
            found[named.id] = named
        async for segment in self._segments(tenant, query):
            if query.passed_by(segment):
                return Page(list(found.values()), None)
            if query.cursor is not None and query.cursor.seq == segment.seq:
                last = query.cursor
            else:
                last = Cursor(query.log, segment.seq, _AFTER_ALL, "")
            wanted = _wanted(segment, query)
            while wanted:
                # Where every line is most likely a hit, no more are read than there is room for.
                by_state = query.statuses and query.log == SUBMITTED
                size = _LOOKED_AT if by_state else query.limit - len(found)
                some, wanted = wanted[:size], wanted[size:]
                records = await self._records(tenant, some, remembered=query.log == SUBMITTED)
                for entry, record in zip(some, records, strict=True):
                    if len(found) >= query.limit:
                        return Page(list(found.values()), last)
                    last = Cursor(query.log, segment.seq, entry.at, entry.submission)
                    if record is None or record.id in seen:
                        continue
                    seen.add(record.id)
                    if not query.statuses or record.current.status in query.statuses:
                        found[record.id] = record
                if len(found) >= query.limit or self._clock() > until:
                    return Page(list(found.values()), last)
            if self._clock() > until and segment.seq > 0:
                # All of it was looked at: go on below it.
                return Page(list(found.values()), Cursor(query.log, segment.seq, "", ""))
        return Page(list(found.values()), None)

    async def _named(self, tenant: str, query: Query) -> Record | None:
        """Returns the task whose whole id somebody asks for, which may lie far back in the list."""
        try:
            task = TaskRef(check_task_id(query.id_prefix), tenant)
        except ValueError:
            return None
        record = await self._read(task)
        if record is None:
            return None
        current = record.current
        entry = Entry(moment(current.submitted_at), current.submission, record.id, current.runtime, current.tasktype)
        return record if query.wants(entry) and (not query.statuses or current.status in query.statuses) else None

    async def _records(self, tenant: str, entries: Sequence[Entry], *, remembered: bool) -> list[Record | None]:
        """Returns the record of each entry that is its task's newest submission.

        Args:
            tenant: whose.
            entries: of one segment.
            remembered: a record that was read moments ago will do. In the order of submission, a newer line of the
                same id comes before it; in that of ends, none may.
        """
        return await asyncio.gather(
            *(self._record(TaskRef(entry.id, tenant), entry.submission, remembered=remembered) for entry in entries)
        )

    async def _record(self, task: TaskRef, submission: str, *, remembered: bool) -> Record | None:
        key = task, submission
        known = self._ended.get(key) if remembered else None
        if known is not None and self._clock() < known[1]:
            return known[0]
        record = await self._read(task)
        if record is None or record.current.submission != submission:
            return None
        if record.current.status.terminal and len(record.current.image_url) <= SHOWN_IMAGES:
            self._ended[key] = record, self._clock() + _REMEMBERED_SECONDS
            self._ended.move_to_end(key)
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
        return record

    async def _read(self, task: TaskRef) -> Record | None:
        async with self._reading:
            try:
                stored = await self._store.read(task)
            except ValidationError:
                _log.exception("record unreadable", task_id=task.id, tenant=task.tenant)
                return None
        if stored is None:
            return None
        context, light = stored.record.current.context, stored.record.without_baggage()
        if not context or not self._context_bytes or len(encode(context)) > self._context_bytes:
            return light
        return light.replace(light.current.model_copy(update={"context": context}))

    async def _segments(self, tenant: str, query: Query) -> AsyncIterator[Segment]:
        """Yields the segments that may hold what is wanted, the newest first."""
        log = TaskLog(self._s3, self._bucket, tenant, query.log)
        head = await log.head()
        seq = head.seq
        if query.cursor is not None:
            seq = min(seq, query.cursor.seq)
        elif query.until and query.log == SUBMITTED:
            seq = await self._last_before(tenant, log, head, query.until)
        if seq == head.seq:
            yield head
            seq -= 1
        ahead = 1
        while seq >= 0:
            numbers = range(seq, max(-1, seq - ahead), -1)
            for segment in await asyncio.gather(*(self._segment(tenant, log, number) for number in numbers)):
                if segment is None:
                    return  # it has expired, and so have all that are older
                yield segment
            seq, ahead = numbers[-1] - 1, min(_MOST_AHEAD, 2 * ahead)

    async def _last_before(self, tenant: str, log: TaskLog, head: Segment, until: str) -> int:
        """Returns the number of the newest segment that has lines from before a time, found by halves."""
        low, high = 0, head.seq
        while low < high:
            middle = (low + high + 1) // 2
            segment = head if middle == head.seq else await self._segment(tenant, log, middle)
            # An expired one is older than all.
            if segment is None or not segment.lines or at_of(segment.lines[0]) < until:
                low = middle
            else:
                high = middle - 1
        # A line that was written late lies in a later segment than its time says.
        return min(low + 1, head.seq)

    async def _segment(self, tenant: str, log: TaskLog, seq: int) -> Segment | None:
        key = tenant, log.name, seq
        found = self._sealed.get(key)
        if found is None:
            async with self._reading:
                found = await log.segment(seq)
            if found is None:
                return None
            self._sealed[key] = found
            if len(self._sealed) > _SEGMENTS:
                self._sealed.popitem(last=False)
        return found


def _wanted(segment: Segment, query: Query) -> list[Entry]:
    """Returns the entries of a segment that may be wanted and lie below the cursor, the newest first."""
    cursor = query.cursor
    entries = segment.entries()[::-1]
    if cursor is not None and cursor.seq == segment.seq:
        entries = [entry for entry in entries if (entry.at, entry.submission) < (cursor.at, cursor.submission)]
    return [entry for entry in entries if query.wants(entry)]

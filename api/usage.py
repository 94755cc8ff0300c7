"""Sums up what tasks have cost, by the logs of `contract/usage.py`: a listing of days, and a read for each 128 tasks.

Each task that has used a GPU counts once, at the time of its end, whatever became of it. Nothing is estimated: where
one price is not known, the sum is not known either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog

from api.aws import S3, UNAVAILABLE
from api.errors import InvalidRequestError, UnavailableError
from api.unknown_keys import unknown_key
from contract.identifiers import check_tenant_if_any
from contract.objects import USAGE
from contract.tags import tags_text
from contract.task_log import TaskLog, moment
from contract.usage import Used, lines_of, logs_among, usage_folder

LONGEST: Final = timedelta(days=366)
"""A span that one answer sums up."""

MOST_LINES: Final = 500_000
"""Tasks of one answer, of which each is looked at: some 4,000 reads."""

MOST_ROWS: Final = 1000
"""Rows of an answer: whoever tags each task differently gets the rest as one sum."""

_SECONDS: Final = 25
_READING: Final = 32
"""Objects at once, of all who ask."""

_PARAMETERS: Final = ("by", "from", "to", "tenant")
_BY: Final = ("key", "runtime", "tag")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What is to be summed up."""

    by: tuple[str, ...]
    """`key`, `runtime`, `tag` (all tags of a task together) or `tag:NAME`."""
    since: str
    until: str
    """Ended not before `since`, and before `until`; as lines have it."""


def parse_usage_query(parameters: Mapping[str, str], now: datetime) -> UsageQuery:
    """Reads the parameters of a request; without `from` the day so far (UTC), without `to` until now.

    Raises:
        InvalidRequestError: 400, naming the parameter.
    """
    for name in parameters:
        if name not in _PARAMETERS:
            raise InvalidRequestError(name[:80], unknown_key(name[:80], _PARAMETERS))
    by = tuple(dict.fromkeys(part.strip() for part in parameters.get("by", "").split(",") if part.strip()))
    for part in by:
        if part not in _BY and not (part.startswith("tag:") and len(part) > len("tag:")):
            known = [*_BY, "tag:NAME"]
            raise InvalidRequestError("by", f"unknown {part[:80]!r}; known are {', '.join(known)}", allowed=known)
    if len(by) > len(_BY) + 1:
        raise InvalidRequestError("by", f"takes at most {len(_BY) + 1} of them; found {len(by)}")
    first = _time(parameters, "from") or now.replace(hour=0, minute=0, second=0, microsecond=0)
    last = _time(parameters, "to") or now
    if last <= first:
        raise InvalidRequestError("to", "must be later than `from`")
    if last - first > LONGEST:
        raise InvalidRequestError("from", f"must be at most {LONGEST.days} days before `to`")
    return UsageQuery(by, moment(first), moment(last))


def _time(parameters: Mapping[str, str], name: str) -> datetime | None:
    text = parameters.get(name, "")
    if not text:
        return None
    try:
        # A plus that nobody has encoded comes as a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequestError(
            name, f"must be a time such as 2026-01-31T12:00:00Z (ISO 8601); found {text[:40]!r}"
        ) from error


@dataclass(slots=True)
class Sum:
    """Of some tasks."""

    tasks: int = 0
    gpu_seconds: Decimal = Decimal(0)
    usd: Decimal = Decimal(0)
    unpriced: int = 0
    """Tasks whose cost in USD is not known."""

    def add(self, other: Sum) -> None:
        """Adds another sum."""
        self.tasks += other.tasks
        self.gpu_seconds += other.gpu_seconds
        self.usd += other.usd
        self.unpriced += other.unpriced

    def book(self, used: Used) -> None:
        """Adds a task."""
        self.tasks += 1
        self.gpu_seconds += Decimal(str(used.gpu_seconds))
        if used.usd is None:
            self.unpriced += 1
        else:
            self.usd += Decimal(str(used.usd))

    def shown(self) -> dict[str, Any]:
        """Returns it as it is answered."""
        return {
            "tasks": self.tasks,
            "gpu_seconds": float(self.gpu_seconds),
            "usd": None if self.unpriced else float(self.usd),
            "unpriced_tasks": self.unpriced,
        }


@dataclass(slots=True)
class Ledger:
    """Sums by what was asked for."""

    by: tuple[str, ...]
    rows: dict[tuple[str | None, ...], Sum] = field(default_factory=dict)
    total: Sum = field(default_factory=Sum)

    def book(self, tenant: str, used: Used) -> None:
        """Adds a task to its row."""
        self.total.book(used)
        key = tuple(_value(part, tenant, used) for part in self.by)
        found = self.rows.get(key)
        if found is None:
            found = self.rows[key] = Sum()
        found.book(used)

    def shown(self) -> dict[str, Any]:
        """Returns rows, the dearest first, what is left of them, and the sum of all."""
        ranked = sorted(self.rows.items(), key=lambda row: (-row[1].usd, -row[1].gpu_seconds, str(row[0])))
        rest = Sum()
        for _, item in ranked[MOST_ROWS:]:
            rest.add(item)
        return {
            "rows": [
                {**dict(zip(self.by, key, strict=True)), **item.shown()} for key, item in ranked[:MOST_ROWS] if self.by
            ],
            "rest": rest.shown() if rest.tasks else None,
            "total": self.total.shown(),
        }


def _value(part: str, tenant: str, used: Used) -> str | None:
    match part:
        case "key":
            return tenant
        case "runtime":
            return used.runtime
        case "tag":
            return tags_text(used.tags) or None
        case _:
            return used.tags.get(part.removeprefix("tag:"))


class Usage:
    """Reads the usage in an output bucket.

    Args:
        s3: the client.
        bucket: the output bucket.
    """

    def __init__(self, *, s3: S3, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._reading = asyncio.Semaphore(_READING)

    async def sum_up(self, tenant: str | None, query: UsageQuery) -> dict[str, Any]:
        """Returns what was used.

        Args:
            tenant: whose; None: everybody's.
            query: what is to be summed up.

        Raises:
            InvalidRequestError: 400, these are too many tasks for one answer.
            UnavailableError: S3 is out of reach.
        """
        ledger, left = Ledger(query.by), MOST_LINES
        try:
            async with asyncio.timeout(_SECONDS):
                for name in [tenant] if tenant is not None else await self._tenants():
                    left -= await self._book(ledger, name, query, left)
        except UNAVAILABLE as error:
            _log.warning("cannot sum up the usage", error=repr(error))
            raise UnavailableError("the usage could not be read; try again, or ask for a shorter span") from error
        return {"from": query.since, "to": query.until, "by": list(query.by), **ledger.shown()}

    async def _tenants(self) -> list[str]:
        """Returns who has used anything, the shared space (empty) included."""
        whole = await self._s3.whole()
        found = {""}
        async for page in whole.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=USAGE, Delimiter="/"
        ):
            for item in page.get("CommonPrefixes", []):
                try:
                    found.add(check_tenant_if_any(item["Prefix"].removeprefix(USAGE).rstrip("/")))
                except ValueError:
                    continue
        return sorted(found)

    async def _book(self, ledger: Ledger, tenant: str, query: UsageQuery, most: int) -> int:
        """Books a tenant's tasks; returns how many lines it has looked at."""
        days = {"first": query.since[:10], "last": query.until[:10]}
        names = sorted(logs_among(await self._keys(tenant, **days), tenant, **days))
        seen: set[tuple[str, str]] = set()
        looked_at = 0
        async for lines in self._read([TaskLog(self._s3, self._bucket, tenant, name, folder=USAGE) for name in names]):
            looked_at += len(lines)
            if looked_at > most:
                raise InvalidRequestError(
                    "from", f"these are more than {MOST_LINES} tasks: ask for a shorter span, and add the answers up"
                )
            for used in lines:
                if query.since <= used.at < query.until and used.names not in seen:
                    seen.add(used.names)
                    ledger.book(tenant, used)
        return looked_at

    async def _keys(self, tenant: str, *, first: str, last: str) -> list[str]:
        """Lists the logs of some days, and none of those before."""
        folder, found = usage_folder(tenant), list[str]()
        async for item in self._s3.list_folder(Bucket=self._bucket, Prefix=folder, StartAfter=folder + first):
            if item.key[len(folder) :][: len(last)] > last:
                break
            found.append(item.key)
        return found

    async def _read(self, logs: Sequence[TaskLog]) -> AsyncIterator[list[Used]]:
        """Yields the lines of logs, an object after the other, a few ahead."""
        heads = iter(logs)
        while some := [log for log, _ in zip(heads, range(_READING), strict=False)]:
            tails: list[tuple[TaskLog, int]] = []
            for log, head in zip(some, await asyncio.gather(*(self._head(log) for log in some)), strict=True):
                tails += [(log, seq) for seq in range(head[0])]
                yield head[1]
            for at in range(0, len(tails), _READING):
                for lines in await asyncio.gather(*(self._sealed(*tail) for tail in tails[at : at + _READING])):
                    yield lines

    async def _head(self, log: TaskLog) -> tuple[int, list[Used]]:
        async with self._reading:
            head = await log.head()
        return head.seq, lines_of(head)

    async def _sealed(self, log: TaskLog, seq: int) -> list[Used]:
        async with self._reading:
            segment = await log.segment(seq)
        return lines_of(segment) if segment is not None else []

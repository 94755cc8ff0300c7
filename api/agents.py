"""What `GET /v1/runtimes/{runtime}/agents` answers: the agents' own notes, read from the output bucket.

One listing tells which notes there are and which have changed; only these are read. A caller sees which tasks of his
own tenant an agent runs; an admin, and everybody where there are no keys, sees all, and where the agents are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from botocore.exceptions import ClientError
from pydantic import ValidationError

from api.auth import Caller
from api.aws import AWS_ERRORS, S3
from api.errors import UnavailableError
from api.recent import Recent
from contract.agents import ENDED, HOUR, MOST_BYTES, AgentNote, by_minute
from contract.objects import agent_key
from contract.s3 import Listed
from contract.store import is_absent

CACHE_SECONDS: Final = 2.0
"""Many pages may ask at once."""

MOST: Final = 200
"""Notes of one runtime that are read, those written last."""

_MOST_LISTED: Final = 5000
"""An agent that has ended stays a day in the listing."""
_SECONDS: Final = 8.0
_READS_AT_ONCE: Final = 16

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Heard:
    note: AgentNote
    at: datetime
    """When it was written, by S3's clock."""
    etag: str

    def is_there(self, now: datetime) -> bool:
        """Tells whether the agent is there, as far as is known."""
        return self.note.state != ENDED and now - self.at <= timedelta(seconds=self.note.lifetime_seconds)


@dataclass(frozen=True, slots=True)
class _Known:
    heard: dict[str, _Heard]
    whole: bool


class Agents:
    """The agents of all runtimes.

    Args:
        s3: where their notes lie.
        bucket: the output bucket.
        clock: seconds, monotonic.
        now: the wall clock.
    """

    def __init__(
        self,
        *,
        s3: S3,
        bucket: str,
        clock: Callable[[], float],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._now = now
        self._known: dict[str, _Known] = {}
        self._recent: dict[str, Recent[_Known]] = {}

    async def describe(self, runtime: str, caller: Caller, *, sees_all: bool) -> dict[str, Any]:
        """Returns the agents of a runtime and how their GPUs spent the last hour, as far as a caller may know.

        Args:
            runtime: one of config.yaml.
            caller: who asks.
            sees_all: whether other tenants' tasks and the agents' places are told.

        Raises:
            UnavailableError: S3 is out of reach.
        """
        recent = self._recent.get(runtime)
        if recent is None:
            recent = Recent(partial(self._look, runtime), seconds=CACHE_SECONDS, clock=self._clock)
            self._recent[runtime] = recent
        try:
            known = await recent.get()
        except AWS_ERRORS as error:
            _log.warning("cannot read what the agents tell", runtime=runtime, error=repr(error))
            raise UnavailableError("what the agents tell of themselves cannot be read now") from error
        now = self._now()
        there = sorted(
            (heard for heard in known.heard.values() if heard.is_there(now)), key=lambda heard: heard.note.started_at
        )
        return {
            "runtime": runtime,
            "agents": [_told(heard, caller, sees_all=sees_all) for heard in there],
            "gpu": [minute._asdict() for minute in by_minute((one.note for one in known.heard.values()), now=now)],
            "whole": known.whole,
        }

    async def _look(self, runtime: str) -> _Known:
        before = self._known.get(runtime)
        async with asyncio.timeout(_SECONDS):
            listed, whole = await self._list(runtime)
            at_once = asyncio.Semaphore(_READS_AT_ONCE)

            async def heard(item: Listed) -> _Heard | None:
                known = before.heard.get(item.key) if before is not None else None
                if known is not None and known.etag == item.etag:
                    return known
                async with at_once:
                    return await self._read(item)

            found = await asyncio.gather(*(heard(item) for item in listed))
        known = _Known({item.key: one for item, one in zip(listed, found, strict=True) if one is not None}, whole)
        self._known[runtime] = known
        return known

    async def _list(self, runtime: str) -> tuple[list[Listed], bool]:
        """Returns the notes that were written within the hour, at most `MOST`, and whether these are all."""
        since, count = self._now() - HOUR, 0
        found: list[Listed] = []
        async for item in self._s3.list_folder(Bucket=self._bucket, Prefix=agent_key(runtime, "")):
            count += 1
            if item.modified >= since:
                found.append(item)
            if count == _MOST_LISTED:
                break
        newest = sorted(found, key=lambda item: item.modified, reverse=True)
        return newest[:MOST], len(found) <= MOST and count < _MOST_LISTED

    async def _read(self, item: Listed) -> _Heard | None:
        try:
            answer = await self._s3.get_object(Bucket=self._bucket, Key=item.key)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        async with answer["Body"] as body:
            text = await body.read() if answer["ContentLength"] <= MOST_BYTES else b""
        try:
            return _Heard(AgentNote.model_validate_json(text), answer["LastModified"], answer["ETag"])
        except ValidationError as error:
            _log.warning("what an agent tells makes no sense", key=item.key, error=str(error)[:300])
            return None


def _told(heard: _Heard, caller: Caller, *, sees_all: bool) -> dict[str, Any]:
    note, spent = heard.note, heard.note.points[-1]
    return {
        "id": note.agent,
        "host": note.host if sees_all else None,
        "version": note.version or None,
        "environment": note.environment or None,
        "state": note.state,
        "reason": (note.reason or None) if sees_all else None,
        "since": note.since,
        "started_at": note.started_at,
        "heard_at": heard.at,
        "slots": note.slots,
        "held": note.held,
        "running": len(note.running),
        "tasks": [task.model_dump() for task in note.running if sees_all or task.tenant == caller.tenant],
        "busy_seconds": spent.busy,
        "idle_seconds": spent.idle,
    }

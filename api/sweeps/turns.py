"""Lets one API process at a time sweep, and remembers how far it came: one object in S3, written on conditions.

A process that dies in the middle loses nothing: what it has ended is ended, and as long as it has not written that it
is done, the next one begins where it began.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from api.aws import S3
from api.sweeps.verdicts import Swept
from contract.objects import EXPIRY_SWEEP
from contract.store import read_document, write_document

LEASE: Final = timedelta(minutes=10)
"""At most; a process that sweeps says so again within a third of it, and after all of it another one takes over."""

_log = structlog.get_logger(__name__)


class Note(BaseModel):
    """The document at `.sweeps/expiry.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = 1
    written_until: datetime | None = None
    unchanged_since: datetime | None = None
    again: dict[str, datetime] = {}
    holder: str = ""
    held_until: datetime | None = None

    @property
    def swept(self) -> Swept:
        """How far sweeps have come."""
        return Swept(self.written_until, self.unchanged_since, self.again)


def lease_for(interval: timedelta) -> timedelta:
    """Returns how long a turn lasts that nobody prolongs: no longer than it is from one sweep to the next."""
    return min(LEASE, interval)


def seconds_until_turn(note: Note | None, me: str, now: datetime, interval: timedelta) -> float:
    """Returns how long a process has to wait until it may sweep; 0: now.

    Args:
        note: as it stands; None: nobody has swept yet.
        me: the process.
        now: by S3's clock.
        interval: between two sweeps.
    """
    if note is None:
        return 0.0
    if note.holder != me and note.held_until is not None and now < note.held_until <= now + LEASE:
        return (note.held_until - now).total_seconds()
    if note.written_until is not None and note.written_until <= now:
        return max(0.0, (note.written_until + interval - now).total_seconds())
    return 0.0


class OvertakenError(Exception):
    """Another process sweeps now."""


@dataclass(slots=True)
class Turn:
    """The right to sweep."""

    note: Note
    etag: str


class Turns:
    """Gives one process at a time its turn.

    Args:
        s3: the client.
        bucket: the output bucket.
        interval: between two sweeps.
    """

    def __init__(self, s3: S3, bucket: str, interval: timedelta) -> None:
        self._interval = interval
        self._lease = lease_for(interval)
        self._s3 = s3
        self._bucket = bucket
        self._me = secrets.token_hex(8)

    async def now(self) -> datetime:
        """Returns the time by S3's clock, which all processes share, in whole seconds."""
        answer: Any = await self._s3.head_bucket(Bucket=self._bucket)
        date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        return parsedate_to_datetime(date) if date else datetime.now(UTC)

    async def take(self, now: datetime) -> Turn | float:
        """Returns the turn if it is this process's, or else how many seconds to wait.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
        """
        note, etag = await self._read()
        wait = seconds_until_turn(note, self._me, now, self._interval)
        if wait > 0:
            return wait
        ours = (note or Note()).model_copy(update={"holder": self._me, "held_until": now + self._lease})
        won = await self._put(ours, etag)
        return Turn(ours, won) if won else self._lease.total_seconds()

    async def keep(self, turn: Turn, now: datetime) -> None:
        """Keeps the turn for as long again.

        Raises:
            OvertakenError: it is somebody else's by now.
        """
        await self._replace(turn, turn.note.model_copy(update={"held_until": now + self._lease}))

    async def give_up(self, turn: Turn) -> None:
        """Lets another process sweep at once."""
        await self._replace(turn, turn.note.model_copy(update={"holder": "", "held_until": None}))

    async def complete(self, turn: Turn, swept: Swept) -> None:
        """Writes that a sweep is done, and how far it came.

        Raises:
            OvertakenError: it is somebody else's by now, who does it all again.
        """
        done = Note(written_until=swept.written_until, unchanged_since=swept.unchanged_since, again=dict(swept.again))
        await self._replace(turn, done)

    async def _replace(self, turn: Turn, note: Note) -> None:
        won = await self._put(note, turn.etag)
        if won is None:
            raise OvertakenError
        turn.note, turn.etag = note, won

    async def _read(self) -> tuple[Note | None, str]:
        found = await read_document(self._s3, self._bucket, EXPIRY_SWEEP)
        if found is None:
            return None, ""
        document, etag = found
        try:
            return Note.model_validate_json(document), etag
        except ValidationError:
            _log.exception("the note on sweeps is unreadable; all records are read again", key=EXPIRY_SWEEP)
            return None, etag

    async def _put(self, note: Note, etag: str) -> str | None:
        return await write_document(self._s3, self._bucket, EXPIRY_SWEEP, note, replaced=etag)

"""The lists of tasks: logs in the output bucket that are only added to, and that are read without listing the bucket.

A tenant has two of them: what was submitted, and what has ended without success. A log is a head, which is replaced on
condition that nobody was faster, and sealed segments, which never change:

    .lists/{tenant}/{log}/head.json          the newest lines
    .lists/{tenant}/{log}/{seq:08d}.json     the head of old, byte for byte

A head with `FULL` lines takes no more: whoever comes next copies it to its segment, and begins a new one. Two who do so
at once write the same segment, and a crash in between is made good by the next one.

A document is JSON lines: `{"seq": N}`, then one array for each entry, in the order of time. Equal entries are equal
bytes, so that one which is added twice is there once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson
from botocore.exceptions import ClientError

from contract.identifiers import TaskRef
from contract.objects import LISTS, list_key
from contract.record import Submission
from contract.store import S3Client, is_lost_race, read_document

SUBMITTED: Final = "submitted"
"""The log of what the API has accepted, in the order of submission."""

UNSUCCESSFUL: Final = "unsuccessful"
"""The log of what has failed or was cancelled, in the order of its end."""

FULL: Final = 128
"""Lines from which a head is sealed."""

MOST_ADDED: Final = 256
"""Lines that are added at once; with `FULL` it bounds a segment."""

_LONGEST_PAUSE: Final = 0.5
"""Seconds between two tries of a write that others won."""

_MOST_LOOKED_AT: Final = 64
"""Segments in which lines are looked for that a write without an answer may have added."""


class Entry(NamedTuple):
    """One line."""

    at: str
    """When: UTC with microseconds, so that texts sort as times do."""
    submission: str
    id: str
    runtime: str
    tasktype: str
    submitted_at: str = ""
    """Empty: `at`."""
    status: str = ""
    """How it has ended, in the log of those that have."""

    @property
    def submitted(self) -> str:
        """When it was submitted."""
        return self.submitted_at or self.at


def moment(time: datetime) -> str:
    """Returns a time as lines have it."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def submitted_line(task: TaskRef, submission: str, *, runtime: str, tasktype: str, at: datetime) -> bytes:
    """Returns the line of a submission."""
    return orjson.dumps([moment(at), submission, task.id, runtime, tasktype])


def ended_line(task: TaskRef, ended: Submission) -> bytes:
    """Returns the line of a submission that has ended without success."""
    return orjson.dumps(
        [
            moment(ended.finished_at or ended.submitted_at),
            ended.submission,
            task.id,
            ended.runtime,
            ended.tasktype,
            moment(ended.submitted_at),
            ended.status,
        ]
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """A head or a sealed segment."""

    seq: int
    lines: list[bytes]
    """The oldest first."""

    def entries(self) -> list[Entry]:
        """Returns what the lines say; what a newer version has added to them is left out."""
        known = len(Entry._fields)
        return [Entry(*orjson.loads(line)[:known]) for line in self.lines]

    def encode(self) -> bytes:
        """Returns the document."""
        return b"\n".join([b'{"seq":%d}' % self.seq, *self.lines, b""])


def parse_segment(document: bytes) -> Segment:
    """Reads a document.

    Raises:
        ValueError: it is none.
    """
    first, *lines = document.splitlines()
    return Segment(int(orjson.loads(first)["seq"]), lines)


def added(head: Segment, lines: Collection[bytes]) -> Segment:
    """Returns the head that follows, with lines which the old one does not have; from a full one, a new one begins."""
    if len(head.lines) >= FULL:
        return Segment(head.seq + 1, sorted(lines))
    there = head.lines
    new = sorted(lines)
    # Nearly always what comes is the newest.
    merged = [*there, *new] if not there or new[0] > there[-1] else sorted([*there, *new])
    return Segment(head.seq, merged)


@dataclass(frozen=True, slots=True)
class _Head:
    segment: Segment
    etag: str
    """Empty: there is none yet."""


class TaskLog:
    """One log of one tenant, as a process adds to it and reads it.

    Args:
        s3: the client.
        bucket: the output bucket.
        tenant: whose; empty: the shared space.
        name: such as `SUBMITTED` or `UNSUCCESSFUL`.
        folder: below which all logs of its kind lie.
    """

    def __init__(self, s3: S3Client, bucket: str, tenant: str, name: str, *, folder: str = LISTS) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._tenant = tenant
        self.name = name
        self._folder = folder
        self._head: _Head | None = None
        """As this process has written it last."""
        self._doubtful: int | None = None
        """The head's number at a write of which nobody knows what became of it."""

    async def head(self) -> Segment:
        """Returns the newest lines.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
        """
        return (await self._read_head()).segment

    async def segment(self, seq: int) -> Segment | None:
        """Returns a sealed segment; None: it has expired.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
        """
        found = await read_document(self._s3, self._bucket, self._key(seq))
        return parse_segment(found[0]) if found is not None else None

    async def add(self, lines: Iterable[bytes]) -> None:
        """Adds lines, and returns once they are there. One call at a time; after an error, they may be there or not.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
        """
        left = set(lines)
        head, self._head = self._head, None
        if head is None:
            head = await self._read_head()
            if self._doubtful is not None:
                await self._leave_out_sealed(left, range(self._doubtful, head.segment.seq))
        self._doubtful = head.segment.seq
        tries = 0
        while left := left.difference(head.segment.lines):
            following = added(head.segment, left)
            if following.seq != head.segment.seq:
                await self._put(self._key(head.segment.seq), head.segment.encode())
            etag = await self._replace(following, head.etag)
            if etag is not None:
                head = _Head(following, etag)
                break
            # Full jitter: writers of one log must not stay in step. What comes meanwhile goes with the next write.
            await asyncio.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.01 * 2**tries)))  # noqa: S311 - no secret
            tries = min(tries + 1, 10)
            newer = await self._read_head()
            await self._leave_out_sealed(left, range(head.segment.seq, newer.segment.seq))
            head = newer
        self._head, self._doubtful = head, None

    async def _leave_out_sealed(self, lines: set[bytes], sequence: range) -> None:
        """Takes out what is in sealed segments: a write whose answer was lost may have added it."""
        for seq in sequence[-_MOST_LOOKED_AT:]:
            sealed = await self.segment(seq)
            lines.difference_update(sealed.lines if sealed else ())

    async def _read_head(self) -> _Head:
        found = await read_document(self._s3, self._bucket, self._key())
        return _Head(parse_segment(found[0]), found[1]) if found is not None else _Head(Segment(0, []), "")

    async def _replace(self, head: Segment, etag: str) -> str | None:
        condition = {"IfMatch": etag} if etag else {"IfNoneMatch": "*"}
        try:
            return await self._put(self._key(), head.encode(), **condition)
        except ClientError as error:
            if is_lost_race(error):
                return None
            raise

    def _key(self, seq: int | None = None) -> str:
        return list_key(self._tenant, self.name, seq, folder=self._folder)

    async def _put(self, key: str, document: bytes, **condition: str) -> str:
        answer = await self._s3.put_object(
            Bucket=self._bucket, Key=key, Body=document, ContentType="application/x-ndjson", **condition
        )
        return str(answer["ETag"])

"""Reads and writes task records with S3's conditional writes.

It lies in `contract` because API and agent must not each have an idea of their own of how a record is replaced.

A record is bounded: a submission that has ended is crowded out by later ones of the same task id. Its message may still
wait somewhere, for as long as SQS keeps it. So the submission is put into an object of its own first, and whoever asks
about it (`about`) finds it in the record as before.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError
from pydantic import BaseModel

from contract.identifiers import TaskRef
from contract.objects import ended_key, record_key
from contract.record import Record, Submission, Transition

_ATTEMPTS: Final = 12
"""Tries to replace a record before giving up; only submissions of one and the same task id ever contend."""

_LOST_RACES: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
"""Error codes of a conditional write that another writer won (Amazon S3, "How to prevent object overwrites")."""

_ABSENT: Final = frozenset({"NoSuchKey", "NotFound", "404"})
"""Error codes of an object that is not there; a HEAD has no body that could say `NoSuchKey`."""

_UNCHANGED: Final = frozenset({"304", "NotModified"})


class S3Client(Protocol):
    """The part of `contract.s3.S3`, or of aiobotocore's S3 client, that the store needs."""

    @property
    def get_object(self) -> Callable[..., Awaitable[Any]]:
        """Amazon S3 GetObject."""

    @property
    def put_object(self) -> Callable[..., Awaitable[Any]]:
        """Amazon S3 PutObject."""


class ContendedRecordError(Exception):
    """Too many writers at once for one task id; trying again later may help."""


@dataclass(frozen=True)
class Stored:
    """A record as it lies in S3, with the entity tag that the next write must match."""

    record: Record
    etag: str
    modified: datetime | None = field(default=None, compare=False)
    """When it was written, by S3's clock in whole seconds; None: it was written by us, and not read since."""


class RecordStore:
    """The task records of one output bucket."""

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    async def read(self, task: TaskRef, *, known: Stored | None = None, about: str = "") -> Stored | None:
        """Returns a task's record, or None when there is none.

        Args:
            task: whose record.
            known: the record as read before. It is returned itself when nobody has changed it since (`If-None-Match`),
                so that watching a record costs no transfer and no parsing.
            about: a submission that must be in the answer though it was crowded out; costs a request only if it was.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
            pydantic.ValidationError: the stored document is no record.
        """
        condition = {} if known is None else {"IfNoneMatch": known.etag}
        try:
            answer = await self._s3.get_object(Bucket=self._bucket, Key=record_key(task), **condition)
            async with answer["Body"] as body:
                document = await body.read()
        except ClientError as error:
            if is_absent(error):
                return None
            if known is not None and is_unchanged(error):
                return known
            raise
        stored = Stored(Record.model_validate_json(document), answer["ETag"], answer.get("LastModified"))
        return await self._knowing(stored, about) if about else stored

    async def change(
        self,
        task: TaskRef,
        transition: Transition,
        *,
        known: Stored | None = None,
        expect_absent: bool = False,
        about: str = "",
    ) -> Stored:
        """Applies a transition until it wins, and returns the record as it then stands.

        Args:
            task: whose record.
            transition: a pure function; it is asked again with the newer record whenever another writer was faster.
            known: the record as read before; saves one request when it is still current.
            expect_absent: there is most likely no record yet: write first, and read only when that is refused.
            about: a submission that the transition must see though it was crowded out, as in `read`.

        Raises:
            contract.record.TransitionError: what the transition raised.
            ContendedRecordError: other writers won too many times in a row.
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
        """
        stored = known if known is not None or expect_absent else await self.read(task, about=about)
        for attempt in range(_ATTEMPTS):
            changed = transition(stored.record if stored else None)
            if stored is not None and changed == stored.record:
                return stored
            if stored is not None:
                await self._keep_crowded_out(stored.record, changed)
            won = await self._put(task, changed, stored)
            if won is not None:
                return won
            # Full jitter: writers of one record come in bursts and must not stay in step.
            await asyncio.sleep(random.uniform(0, min(0.5, 0.01 * 2**attempt)))  # noqa: S311 - no secret
            stored = await self.read(task, about=about)
        raise ContendedRecordError(f"the record of task {task} changed {_ATTEMPTS} times while it was being replaced")

    async def _put(self, task: TaskRef, record: Record, replaced: Stored | None) -> Stored | None:
        """Writes a record if nobody was faster; returns None when somebody was."""
        etag = replaced.etag if replaced is not None else ""
        won = await write_document(self._s3, self._bucket, record_key(task), record, replaced=etag)
        return Stored(record, won) if won is not None else None

    async def _knowing(self, stored: Stored, submission: str) -> Stored:
        """Returns a record with a submission in it that was crowded out; unchanged when it was not."""
        record = stored.record
        if record.find(submission) is not None:
            return stored
        found = await read_document(self._s3, self._bucket, ended_key(record.ref, submission))
        if found is None:
            return stored
        ended = Submission.model_validate_json(found[0])
        earlier = {ended.submission: ended, **record.earlier}
        return replace(stored, record=record.model_copy(update={"earlier": earlier}))

    async def _keep_crowded_out(self, before: Record, after: Record) -> None:
        """Puts what a change has crowded out of a record beside it, before the record is replaced."""
        kept = after.submissions()
        for name, submission in before.submissions().items():
            if name not in kept:
                await self._s3.put_object(
                    Bucket=self._bucket,
                    Key=ended_key(before.ref, name),
                    Body=submission.model_dump_json().encode(),
                    ContentType="application/json",
                )


async def read_document(s3: S3Client, bucket: str, key: str) -> tuple[bytes, str] | None:
    """Returns an object and its entity tag, or None when there is none.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
    """
    try:
        answer = await s3.get_object(Bucket=bucket, Key=key)
        async with answer["Body"] as body:
            return bytes(await body.read()), str(answer["ETag"])
    except ClientError as error:
        if is_absent(error):
            return None
        raise


async def write_document(s3: S3Client, bucket: str, key: str, document: BaseModel, *, replaced: str) -> str | None:
    """Writes a document if nobody was faster; returns its entity tag, or None when somebody was.

    Args:
        s3: the client.
        bucket: where it lies.
        key: under which.
        document: written as JSON.
        replaced: the entity tag of what is there; empty: there is nothing.

    Raises:
        botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach or refuses.
    """
    condition = {"IfMatch": replaced} if replaced else {"IfNoneMatch": "*"}
    try:
        answer = await s3.put_object(
            Bucket=bucket,
            Key=key,
            Body=document.model_dump_json().encode(),
            ContentType="application/json",
            **condition,
        )
    except ClientError as error:
        if is_lost_race(error):
            return None
        raise
    return str(answer["ETag"])


def error_code(error: ClientError) -> str:
    """Returns an AWS error's code, such as `NoSuchKey`; empty when the answer held none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def is_unchanged(error: ClientError) -> bool:
    """Tells whether S3 says that an object is still the one that is known."""
    return error_code(error) in _UNCHANGED


def is_absent(error: ClientError) -> bool:
    """Tells whether S3 says that the object is not there."""
    return error_code(error) in _ABSENT


def is_lost_race(error: ClientError) -> bool:
    """Tells whether a conditional write was refused because another writer was faster.

    An object that was deleted between a read and a write with `IfMatch` is one of the cases.
    """
    return error_code(error) in _LOST_RACES | _ABSENT

"""Stores a task's results in S3 such that of two attempts only the record's holder can leave objects behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog
from botocore.exceptions import ClientError

from agent.aws import CALL_TIMEOUT, persist
from agent.media import ACTIVE, SIGNATURE_SIZE, output_type
from agent.runtimes.base import Answer
from contract.identifiers import TaskRef
from contract.objects import answer_key, image_key, s3_url, submission_label, submission_prefix
from contract.record import Record, Submission
from contract.store import is_absent, is_lost_race

if TYPE_CHECKING:
    from contract.s3 import S3

log = structlog.get_logger()

_PARALLEL: Final = 8
"""Uploads, or deletions, at once."""

_NAME_KEPT: Final = 100
"""Characters of a server's own file name that are kept, from its end: each may become nine in a header."""

_BYTES_PER_SECOND: Final = 1_000_000
"""Each upload may take `CALL_TIMEOUT`, and longer by this rate."""


_LABEL: Final = "submission"
"""Metadata of each object, by which the files of two submissions with the same four characters are told apart."""


class OvertakenError(Exception):
    """Another attempt holds the task now; what this one made no longer counts."""


class _OthersError(Exception):
    """Another submission's file has the name."""


@dataclass(frozen=True)
class StoredAnswer:
    """Where a run's results lie, as `s3://` addresses."""

    image_url: list[str]
    output_url: str


class Outputs:
    """The output bucket, as the place of results."""

    def __init__(self, s3: S3, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    async def store(
        self, task: TaskRef, submission: Submission, answer: Answer, *, is_mine: Callable[[], Awaitable[bool]]
    ) -> StoredAnswer:
        """Uploads every output and the full answer, in parallel.

        Args:
            task: whose results.
            submission: names the keys.
            answer: what the run made.
            is_mine: asks the record whether this attempt still holds the task; asked only when an object is in the way.

        Raises:
            OvertakenError: it does not.
            botocore.exceptions.ClientError: S3 refuses an object.
        """
        for turn in count():
            try:
                return await self._store(task, submission, answer, turn, is_mine)
            except _OthersError as error:
                log.info("name_taken", key=str(error), by="another submission of the task")
                if not await is_mine():
                    raise OvertakenError(str(error)) from error
                await self._delete_own(task, submission, turn, kept=frozenset())
        raise AssertionError("there is always a next turn")

    async def _store(
        self,
        task: TaskRef,
        submission: Submission,
        answer: Answer,
        turn: int,
        is_mine: Callable[[], Awaitable[bool]],
    ) -> StoredAnswer:
        prefix, name = submission.prefix, submission.submission
        label = {_LABEL: submission_label(name)}
        uploads: list[tuple[str, bytes, dict[str, Any]]] = []
        for number, output in enumerate(answer.outputs, 1):
            kind = output_type(output.name, output.data[:SIGNATURE_SIZE])
            key = image_key(prefix, task, name, number, kind.extension, turn=turn)
            arguments: dict[str, Any] = {"ContentType": kind.content_type, "Metadata": label}
            if disposition := _disposition(output.name, active=kind.extension in ACTIVE):
                arguments["ContentDisposition"] = disposition
            uploads.append((key, output.data, arguments))
        output_key = answer_key(prefix, task, name, turn=turn)
        images = [s3_url(self._bucket, key) for key, _, _ in uploads]
        uploads.append((output_key, answer.raw, {"ContentType": "application/json", "Metadata": label}))

        await _in_parallel(self._put(submission, *upload, is_mine) for upload in uploads)
        return StoredAnswer(images, s3_url(self._bucket, output_key))

    async def sweep(self, task: TaskRef, record: Record, submission: Submission) -> list[str]:
        """Deletes this submission's objects that the record does not name: what attempts that died left behind.

        Returns:
            The deleted keys.

        Raises:
            botocore.exceptions.ClientError: S3 refuses.
        """
        named: set[str] = set()
        for item in (record.current, *record.earlier.values()):
            named |= {*item.image_url, item.output_url}
        orphans: list[str] = []
        for turn in count():
            deleted, others = await self._delete_own(task, submission, turn, kept=named)
            orphans += deleted
            if not others:
                break
        if orphans:
            log.info("orphans_deleted", count=len(orphans))
        return orphans

    async def _delete_own(
        self, task: TaskRef, submission: Submission, turn: int, *, kept: Collection[str]
    ) -> tuple[list[str], bool]:
        """Deletes a submission's objects of one turn.

        Args:
            task: whose.
            submission: of the task.
            turn: which one.
            kept: addresses of objects that stay.

        Returns:
            The deleted keys; and whether another submission has objects of the same four characters.
        """
        prefix = submission_prefix(submission.prefix, task, submission.submission, turn=turn)
        own = {*submission.image_url, submission.output_url}
        deleted: list[str] = []
        others = False

        async def look(key: str) -> None:
            nonlocal others
            if (address := s3_url(self._bucket, key)) in own:
                return
            if address in kept or not _is_own(await self._head(key), submission):
                others = True
                return
            await self.delete([key])
            deleted.append(key)

        await _in_parallel(look(key) for key in await self._list(prefix) if _is_output(key, prefix))
        return sorted(deleted), others

    async def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects of the output bucket; what is not there is no error.

        Raises:
            botocore.exceptions.ClientError: S3 refuses.
        """

        async def delete(key: str) -> None:
            call = partial(self._s3.delete_object, Bucket=self._bucket, Key=key)
            await persist(call, "s3:DeleteObject", essential=False)

        await _in_parallel(delete(key) for key in keys)

    async def _list(self, prefix: str) -> list[str]:
        """Returns all keys that begin so.

        Each page goes on after the last key that is known, not by a token: a listing that repeats itself comes to an
        end as well.
        """
        found: list[str] = []
        while True:
            after = {"StartAfter": found[-1]} if found else {}
            call = partial(self._s3.list_objects_v2, Bucket=self._bucket, Prefix=prefix, **after)
            page: Any = await persist(call, "s3:ListObjectsV2", essential=False)
            new = [item["Key"] for item in page.get("Contents", []) if not found or item["Key"] > found[-1]]
            found += new
            if not new or not page.get("IsTruncated"):
                return found

    async def _put(
        self,
        submission: Submission,
        key: str,
        data: bytes,
        arguments: dict[str, Any],
        is_mine: Callable[[], Awaitable[bool]],
    ) -> None:
        """Writes an object: freely where there is none, over an older one only while the task is ours.

        Raises:
            _OthersError: the older one is another submission's.
        """
        arguments = {"Bucket": self._bucket, "Key": key, "Body": data, **arguments}
        condition: dict[str, Any] = {"IfNoneMatch": "*"}
        while True:
            try:
                await persist(
                    partial(self._s3.put_object, **arguments, **condition),
                    "s3:PutObject",
                    seconds=CALL_TIMEOUT + len(data) / _BYTES_PER_SECOND,
                )
            except ClientError as error:
                if not is_lost_race(error):
                    raise
            else:
                return
            if not await is_mine():
                raise OvertakenError(key)
            there = await self._head(key)
            if not _is_own(there, submission):
                raise _OthersError(key)
            condition = {"IfNoneMatch": "*"} if there is None else {"IfMatch": there["ETag"]}

    async def _head(self, key: str) -> dict[str, Any] | None:
        try:
            return await persist(lambda: self._s3.head_object(Bucket=self._bucket, Key=key), "s3:HeadObject")
        except ClientError as error:
            if is_absent(error):
                return None
            raise


def _is_own(there: dict[str, Any] | None, submission: Submission) -> bool:
    """Tells whether what lies under a submission's key is its own, as is what older agents wrote, without a label."""
    label = submission_label(submission.submission)
    return there is None or there["Metadata"].get(_LABEL, label) == label


def _disposition(name: str, *, active: bool) -> str:
    """Returns the Content-Disposition (RFC 6266) by which a download gets the server's own file name; empty: none."""
    kind = "attachment" if active else "inline"
    name = re.split(r"[/\\]", name)[-1][-_NAME_KEPT:]
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_" for letter in name
    )
    if not name:
        return kind if active else ""
    exact = "" if plain == name else f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return f'{kind}; filename="{plain}"{exact}'


async def _in_parallel(calls: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Makes calls, a few at a time, each of them whatever becomes of the others; raises the first one's error."""
    places = asyncio.Semaphore(_PARALLEL)

    async def one(call: Coroutine[Any, Any, None]) -> None:
        async with places:
            await call

    for result in await asyncio.gather(*map(one, calls), return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


def _is_output(key: str, prefix: str) -> bool:
    """Tells whether a key that starts with `prefix` is `…-{number}.{extension}` or `….out`."""
    rest = key.removeprefix(prefix)
    if rest == ".out":
        return True
    number, dot, extension = rest.removeprefix("-").partition(".")
    return rest.startswith("-") and number.isdigit() and dot == "." and extension.isalnum()

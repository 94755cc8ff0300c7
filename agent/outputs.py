"""Stores a task's results in S3 such that of two attempts only the record's holder can leave objects behind."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import structlog
from botocore.exceptions import ClientError

from agent.aws import CALL_TIMEOUT, persist
from agent.media import ACTIVE, SIGNATURE_SIZE, output_type
from agent.runtimes.base import Answer
from contract.identifiers import TaskRef
from contract.objects import answer_key, image_key, s3_url, submission_prefix
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


class OvertakenError(Exception):
    """Another attempt holds the task now; what this one made no longer counts."""


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
        prefix, name = submission.prefix, submission.submission
        uploads: list[tuple[str, bytes, dict[str, str]]] = []
        for number, output in enumerate(answer.outputs, 1):
            kind = output_type(output.name, output.data[:SIGNATURE_SIZE])
            key = image_key(prefix, task, name, number, kind.extension)
            headers = {"ContentType": kind.content_type}
            if disposition := _disposition(output.name, active=kind.extension in ACTIVE):
                headers["ContentDisposition"] = disposition
            uploads.append((key, output.data, headers))
        output_key = answer_key(prefix, task, name)
        images = [s3_url(self._bucket, key) for key, _, _ in uploads]
        uploads.append((output_key, answer.raw, {"ContentType": "application/json"}))

        await _in_parallel(self._put(*upload, is_mine) for upload in uploads)
        return StoredAnswer(images, s3_url(self._bucket, output_key))

    async def sweep(self, task: TaskRef, record: Record, submission: Submission) -> list[str]:
        """Deletes this submission's objects that the record does not name: what attempts that died left behind.

        Returns:
            The deleted keys.

        Raises:
            botocore.exceptions.ClientError: S3 refuses.
        """
        prefix = submission_prefix(submission.prefix, task, submission.submission)
        named: set[str] = set()
        for item in (record.current, *record.earlier.values()):
            named |= {*item.image_url, item.output_url}
        found = await self._list(prefix)
        orphans = [key for key in found if s3_url(self._bucket, key) not in named and _is_output(key, prefix)]
        await self.delete(orphans)
        if orphans:
            log.info("orphans_deleted", count=len(orphans))
        return orphans

    async def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects of the output bucket; what is not there is no error.

        Raises:
            botocore.exceptions.ClientError: S3 refuses.
        """

        async def delete(key: str) -> None:
            await persist(partial(self._s3.delete_object, Bucket=self._bucket, Key=key), "s3:DeleteObject")

        await _in_parallel(delete(key) for key in keys)

    async def _list(self, prefix: str) -> list[str]:
        """Returns all keys that begin so.

        Each page goes on after the last key that is known, not by a token: a listing that repeats itself comes to an
        end as well.
        """
        found: list[str] = []
        while True:
            after = {"StartAfter": found[-1]} if found else {}
            page: Any = await persist(
                partial(self._s3.list_objects_v2, Bucket=self._bucket, Prefix=prefix, **after), "s3:ListObjectsV2"
            )
            new = [item["Key"] for item in page.get("Contents", []) if not found or item["Key"] > found[-1]]
            found += new
            if not new or not page.get("IsTruncated"):
                return found

    async def _put(
        self, key: str, data: bytes, headers: dict[str, str], is_mine: Callable[[], Awaitable[bool]]
    ) -> None:
        """Writes an object: freely where there is none, over an older one only while the task is ours."""
        arguments: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "Body": data, **headers}
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
            etag = await self._etag(key)
            condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}

    async def _etag(self, key: str) -> str | None:
        try:
            answer = await persist(lambda: self._s3.head_object(Bucket=self._bucket, Key=key), "s3:HeadObject")
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return str(answer["ETag"])


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

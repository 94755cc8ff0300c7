"""Takes an input file and puts it into S3 piece by piece, so that a large one is never held whole."""

from __future__ import annotations

import asyncio
import mimetypes
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import structlog
from starlette.requests import ClientDisconnect, Request

from api.auth import Caller
from api.aws import AWS_ERRORS, S3
from api.body import check_encoding, check_file_type, discard, incomplete, too_large
from api.errors import ApiError, InvalidRequestError, UnavailableError
from api.intake import SMALL, Intake
from contract.identifiers import new_ulid
from contract.links import Signer
from contract.objects import input_key, s3_url

PART: Final = 8 * 1024 * 1024
"""Bytes of a part of a larger file; S3 wants 5 MiB at least (Amazon S3, "Multipart upload limits")."""

_HELD: Final = 2 * PART
"""Bytes that a larger file takes at once: the part that is sent, and its copy."""

_SECONDS: Final = 12
"""For each call to S3, and one more for each `_BYTES_PER_SECOND`."""

_BYTES_PER_SECOND: Final = 1_000_000

_ENDING: Final = re.compile(r"\.([A-Za-z0-9]{1,10})$")
_MEDIA: Final = re.compile(r"(?:image|video|audio|model)/[a-z0-9][a-z0-9.+-]{0,60}")
_UNKNOWN: Final = "application/octet-stream"

_log = structlog.get_logger(__name__)


def stored_type(content_type: str) -> str:
    """Returns the content type with which a file is stored: what a browser would run from a link becomes bytes.

    Raises:
        ApiError: 415, as `api.body.check_file_type`.
    """
    media_type = check_file_type(content_type)
    return media_type if _MEDIA.fullmatch(media_type) and media_type != "image/svg+xml" else _UNKNOWN


def ending(name: str | None, content_type: str) -> str:
    """Returns the ending of the stored file with its dot: that of its name, else its type's; empty: not known."""
    if name is None:
        return mimetypes.guess_extension(content_type) or "" if content_type != _UNKNOWN else ""
    found = _ENDING.search(name)
    return f".{found[1].lower()}" if found else ""


class Uploads:
    """Stores input files.

    Args:
        s3: where to.
        signer: of the links.
        bucket: the output bucket.
        intake: has the room for what is on its way.
        limit: bytes of the largest file.
        body_seconds: in which a body must have come; see `api.body.read_body`.
        link_seconds: how long a link works.
    """

    def __init__(
        self,
        *,
        s3: S3,
        signer: Signer,
        bucket: str,
        intake: Intake,
        limit: int,
        body_seconds: float,
        link_seconds: int,
    ) -> None:
        self._s3 = s3
        self._signer = signer
        self._bucket = bucket
        self._intake = intake
        self._limit = limit
        self._body_seconds = body_seconds
        self._link_seconds = link_seconds

    async def store(self, request: Request, caller: Caller, *, name: str | None) -> dict[str, Any]:
        """Stores the body of a request; returns what is answered.

        Args:
            request: its body has not been read.
            caller: whose file it is.
            name: of the file, of which the ending counts; None: not told.

        Raises:
            ApiError: 400 empty or incomplete; 408 too slow; 413 too large; 415 a form, or compressed.
            UnavailableError: S3 is out of reach, or too much is on its way.
        """
        check_encoding(request.headers.get("content-encoding", ""))
        content_type = stored_type(request.headers.get("content-type", ""))
        coming = self.coming(request, request.stream())
        key = await self.keep(coming, caller, ending=ending(name, content_type), content_type=content_type)
        (url,) = await self._signer.sign([key], seconds=self._link_seconds)
        return {"s3": s3_url(self._bucket, key), "url": url, "bytes": coming.size}

    def coming(self, request: Request, stream: AsyncIterator[bytes]) -> Coming:
        """Returns a file that is to come, which may be a part of a request's body, within the limits."""
        return Coming(request, stream, self._limit, self._body_seconds)

    async def keep(self, coming: Coming, caller: Caller, *, ending: str, content_type: str) -> str:
        """Stores a file in its tenant's folder, and returns its key.

        Args:
            coming: the file.
            caller: whose it is.
            ending: of its name, with its dot; empty: none.
            content_type: as `stored_type` returns it.

        Raises:
            ApiError, UnavailableError: as `store`.
        """
        key = input_key(caller.tenant, f"{new_ulid()}{ending}")
        try:
            await self._store(coming, key, content_type, caller.name)
        except AWS_ERRORS as error:
            _log.warning("cannot store an input", key=key, error=repr(error))
            await coming.discard()
            raise UnavailableError(
                "the file could not be stored; send it again", headers={"connection": "close"}
            ) from error
        return key

    async def _store(self, coming: Coming, key: str, content_type: str, owner: str) -> None:
        first = await coming.read(SMALL + 1)
        if not first:
            raise InvalidRequestError("body", "must be the file's bytes; found nothing")
        if coming.is_over():
            await self._put(key, first, content_type)
            return
        try:
            room = self._intake.room(min(coming.expected, _HELD), owner)
            await room.__aenter__()
        except ApiError:
            await coming.discard()
            raise
        try:
            first += await coming.read(PART - len(first))
            if coming.is_over():
                await self._put(key, first, content_type)
            else:
                await self._put_in_parts(key, first, coming, content_type)
        finally:
            await room.__aexit__(None, None, None)

    async def _put(self, key: str, data: bytes, content_type: str) -> None:
        await self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentType=content_type)

    async def _put_in_parts(self, key: str, part: bytes, coming: Coming, content_type: str) -> None:
        """Sends a file part by part; one that does not come to its end leaves nothing behind.

        Where not even that can be said to S3, the bucket's lifecycle removes the parts.
        """
        client = await self._s3.whole()
        async with asyncio.timeout(_SECONDS):
            begun = await client.create_multipart_upload(Bucket=self._bucket, Key=key, ContentType=content_type)
        place = {"Bucket": self._bucket, "Key": key, "UploadId": begun["UploadId"]}
        parts: list[dict[str, Any]] = []
        try:
            while part:
                number = len(parts) + 1
                async with asyncio.timeout(_SECONDS + len(part) / _BYTES_PER_SECOND):
                    answer = await client.upload_part(**place, PartNumber=number, Body=part)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
                part = await coming.read(PART)
            async with asyncio.timeout(_SECONDS):
                await client.complete_multipart_upload(**place, MultipartUpload={"Parts": parts})
        except BaseException:
            with suppress(*AWS_ERRORS):
                async with asyncio.timeout(_SECONDS):
                    await client.abort_multipart_upload(**place)
            raise


class Coming:
    """A file on its way, read in pieces.

    Args:
        request: that brings it.
        stream: its bytes.
        limit: bytes that it may have.
        seconds: see `api.body.read_body`.
    """

    def __init__(self, request: Request, stream: AsyncIterator[bytes], limit: int, seconds: float) -> None:
        declared = request.headers.get("content-length", "")
        self.expected = int(declared[:20]) if declared.isdecimal() else limit
        """Bytes, as far as is told."""
        self.size = 0
        """Bytes that have come."""
        self._over = False
        self._asks_first = bool(request.headers.get("expect"))
        self._limit = limit
        self._seconds = seconds
        self._began = time.monotonic()
        self._stream = stream

    async def read(self, size: int) -> bytes:
        """Returns the next `size` bytes, or some more of what came with them; fewer at the end.

        Raises:
            ApiError: 400, 408 or 413, as `api.body.read_body`.
        """
        if self.expected > self._limit and self._asks_first:
            raise too_large(self._limit)
        piece = bytearray()
        try:
            while len(piece) < size and not self._over:
                chunk = await anext(self._stream, None)
                self._over = chunk is None
                piece += chunk or b""
                self.size += len(chunk or b"")
                if max(self.expected, self.size) > self._limit:
                    piece.clear()
                    await discard(self._stream, self._limit)
                    raise too_large(self._limit)
        except ClientDisconnect as error:
            raise incomplete(time.monotonic() - self._began >= self._seconds) from error
        return bytes(piece)

    def is_over(self) -> bool:
        """Tells whether all of it has come."""
        return self._over

    async def discard(self) -> None:
        """Reads a bounded rest: a client that is cut off while it sends never sees the answer."""
        with suppress(ClientDisconnect):
            await discard(self._stream, self._limit)

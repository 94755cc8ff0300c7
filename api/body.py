"""Reads a request body as JSON within limits of size, values, depth and time, before anything looks at its meaning."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from api.errors import ApiError
from contract.bounds import ExcessError, check_bounds
from contract.documents import decode

SLOWEST: Final = 32 * 1024
"""Bytes per second (256 kbit/s) that a body may come at once its time is over; 20 MiB then take eleven minutes."""

_UNASKED: Final = frozenset({"", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"})
_DISCARD_SECONDS: Final = 5
_DISCARD_BYTES: Final = 1024 * 1024


def check_content_type(content_type: str, content_encoding: str) -> None:
    """Accepts `application/json`, `application/*+json`, any parameters but a charset other than UTF-8.

    Raises:
        ApiError: 415.
    """
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    found = content_type[:100] or "nothing"
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise ApiError(
            415, "unsupported_media_type", f"send the header 'Content-Type: application/json'; found {found!r}"
        )
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8", "us-ascii"}:
            raise ApiError(415, "unsupported_media_type", f"JSON is sent as UTF-8; found {found!r}")
    check_encoding(content_encoding)


def check_file_type(content_type: str) -> str:
    """Accepts a file of any media type that is named, and returns that.

    Raises:
        ApiError: 415, there is none, or one that a page of another site can send unasked (Fetch Standard,
            "CORS-safelisted request-header").
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _UNASKED:
        raise ApiError(
            415,
            "unsupported_media_type",
            "send the file itself as the body with its type, no form, as `curl --data-binary @cat.png -H "
            "'Content-Type: image/png'` does; application/octet-stream does for any file",
        )
    return media_type


def check_encoding(content_encoding: str) -> None:
    """Accepts a body that is not compressed.

    Raises:
        ApiError: 415.
    """
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise ApiError(415, "unsupported_media_type", "send the body uncompressed: Content-Encoding is not supported")


async def read_body(
    request: Request, limit: int, *, seconds: float, small: int, room: Callable[[int], Awaitable[None]]
) -> bytearray:
    """Returns the body of a request. How long it may take to come is the business of `api.protocol`.

    Args:
        request: its body has not been read.
        limit: bytes.
        seconds: after which a body that ends early was too slow; otherwise its client has gone.
        small: bytes that are read without asking for room.
        room: waits until there is room for so many bytes; asked once, and nothing is read meanwhile.

    Raises:
        ApiError: 413 larger than `limit`; 408 too slow; 400 incomplete; what `room` raises.
    """
    declared = request.headers.get("content-length", "")
    expected = int(declared[:20]) if declared.isdecimal() else limit
    if expected > limit and request.headers.get("expect"):
        # The client waits for our word before it sends the body.
        raise too_large(limit)
    body, asked = bytearray(), False
    began = time.monotonic()
    stream = request.stream()
    try:
        async for chunk in stream:
            if expected > limit or len(body) + len(chunk) > limit:
                body.clear()
                await discard(stream, limit)
                raise too_large(limit)
            body += chunk
            if not asked and len(body) > small:
                asked = True
                try:
                    await room(expected)
                except ApiError:
                    await discard(stream, limit)
                    raise
    except ClientDisconnect as error:
        raise incomplete(time.monotonic() - began >= seconds) from error
    return body


async def read_small(request: Request, *, seconds: float) -> bytearray:
    """Returns the body of a request that declared few bytes; the server lets no more than those through.

    Raises:
        ApiError: 408 or 400, as `read_body`.
    """
    began = time.monotonic()
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise incomplete(time.monotonic() - began >= seconds)
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


def incomplete(too_slow: bool) -> ApiError:
    """Returns the error for a body whose connection ended; a client that was too slow has been told already."""
    if too_slow:
        return ApiError(408, "body_too_slow", "the body did not come in time")
    return ApiError(400, "incomplete_body", "the connection ended before the body did")


def too_large(limit: int) -> ApiError:
    """Returns the error for a body beyond the limit."""
    return ApiError(
        413,
        "body_too_large",
        f"the body must be at most {limit} bytes; put large images into S3 or behind a link and send their address",
        details={"limit": limit},
        # What is left of the body is not read, so the connection cannot be used again.
        headers={"connection": "close"},
    )


async def discard(stream: AsyncIterator[bytes], limit: int) -> None:
    """Reads a bounded rest of a body: a client that is cut off while it sends never sees the answer."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            async for chunk in stream:
                size += len(chunk)
                if size > max(limit, _DISCARD_BYTES):
                    return


def parse_json(body: bytes | bytearray) -> Any:
    """Returns the document in a body of strict JSON, as `contract.documents.decode`, within `contract.bounds`.

    Raises:
        ApiError: 400; with line and column where it is no JSON.
    """
    try:
        check_bounds(body)
        return decode(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            400,
            "invalid_json",
            f"the body is not JSON: {_named(error, body)} (line {error.lineno}, column {error.colno})",
            details={"line": error.lineno, "column": error.colno},
        ) from error
    except ExcessError as error:
        raise ApiError(400, "invalid_json", f"the body is refused: {error}") from error


def _named(error: orjson.JSONDecodeError, body: bytes | bytearray) -> str:
    """Returns what is wrong, by name where it is a number that Python writes and JSON lacks."""
    text = bytes(body).decode("utf-8", "replace")[max(0, error.pos - 1) :][:12].lstrip(" -,:[")
    if text.startswith("NaN"):
        return "NaN is no JSON; ComfyUI writes it as is_changed, a key that can be left out"
    return "Infinity is no JSON" if text.startswith("Infinity") else error.msg

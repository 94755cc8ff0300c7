"""Reads a request body as JSON within limits of size and depth, before anything looks at its meaning."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from api.errors import ApiError

MAX_DEPTH: Final = 100
"""Levels of nesting. A ComfyUI workflow needs five; the JSON and pydantic code behind the API stops near 200."""

_DISCARD_SECONDS: Final = 5
_DISCARD_BYTES: Final = 1024 * 1024


async def read_json(request: Request, limit: int) -> Any:
    """Returns the body of a request as a JSON document.

    Args:
        request: its body has not been read.
        limit: bytes.

    Raises:
        ApiError: 415 not declared as JSON; 413 larger than `limit`; 400 not JSON.
    """
    check_content_type(request.headers.get("content-type", ""), request.headers.get("content-encoding", ""))
    return parse_json(await _read(request, limit))


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
    if content_encoding.strip().lower() not in {"", "identity"}:
        raise ApiError(415, "unsupported_media_type", "send the body uncompressed: Content-Encoding is not supported")


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    excessive = declared.isdecimal() and int(declared[:20]) > limit
    if excessive and request.headers.get("expect"):
        # The client waits for our word before it sends the body.
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        stream = request.stream()
        async for chunk in stream:
            size += len(chunk)
            if excessive or size > limit:
                chunks.clear()
                await _discard(stream, limit)
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise ApiError(400, "incomplete_body", "the connection ended before the body did") from error
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413,
        "body_too_large",
        f"the body must be at most {limit} bytes; put large images into S3 or behind a link and send their address",
        details={"limit": limit},
        # What is left of the body is not read, so the connection cannot be used again.
        headers={"connection": "close"},
    )


async def _discard(stream: AsyncIterator[bytes], limit: int) -> None:
    """Reads a bounded rest of a body: a client that is cut off while it sends never sees the answer."""
    size = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            async for chunk in stream:
                size += len(chunk)
                if size > max(limit, _DISCARD_BYTES):
                    return


def parse_json(body: bytes) -> Any:
    """Returns the document in a body of strict JSON: UTF-8, no NaN, no lone surrogates, at most `MAX_DEPTH` deep.

    Of a key that is there twice the last value counts (RFC 8259, section 4, leaves it open; JavaScript does the same).

    Raises:
        ApiError: 400, with line and column.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(
            400,
            "invalid_json",
            f"the body is not JSON: {error.msg} (line {error.lineno}, column {error.colno})",
            details={"line": error.lineno, "column": error.colno},
        ) from error
    # Most bodies have too few brackets to be too deep, and counting those is much cheaper than walking the document.
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _deeper_than(document, MAX_DEPTH):
        raise ApiError(400, "invalid_json", f"the body is nested more than {MAX_DEPTH} levels deep")
    return document


def _deeper_than(document: Any, levels: int) -> bool:
    """Tells whether a document has more than so many levels of lists and objects."""
    layer = [document]
    for _ in range(levels):
        below: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                below.extend(value for value in item.values() if isinstance(value, dict | list))
            elif isinstance(item, list):
                below.extend(value for value in item if isinstance(value, dict | list))
        if not below:
            return False
        layer = below
    return True

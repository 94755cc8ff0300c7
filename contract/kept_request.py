"""Keeps what a task asked for, so that it can be shown, and sent again: without its secrets, and in its record.

A record is read and written several times for each task. So a request is there as it is while it is small, compressed
while that makes it small enough, and otherwise in an object of its own (`contract.objects.request_key`).
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, Final

from contract.documents import decode, encode
from contract.secrets import may_hold_secrets, without_secrets

ELSEWHERE: Final = "s3"
"""What a record has instead of a request that lies in an object of its own."""

_PLAIN: Final = 1024
"""Bytes up to which compressing is not worth its time."""

_TRIED: Final = 64 * 1024
"""Bytes up to which it is tried: a workflow of so many comes to a tenth, an image to three quarters."""

_IN_RECORD: Final = 4096
"""Characters in a record."""

_COMPRESSED: Final = "zlib:"


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """What a task asked for, beside what its record says anyway."""

    content: dict[str, Any]
    inputs: dict[str, Any] | None = None
    """The rules of `metadata.inputs`, as they were sent."""
    left_out: tuple[str, ...] = ()
    """Where secrets were, as JSON pointers into the content."""


def encode_request(content: dict[str, Any], encoded: bytes, inputs: dict[str, Any] | None) -> bytes:
    """Returns a request as JSON, without its secrets.

    Args:
        content: the runtime's own request.
        encoded: the same as JSON.
        inputs: the rules of its links.
    """
    doubtful = may_hold_secrets(encoded)
    if not doubtful and not inputs:
        return b'{"content":%b}' % encoded
    left_out: list[str] = []
    if doubtful:
        content, left_out = without_secrets(content)
        if left_out:
            encoded = encode(content)
    more: dict[str, Any] = {"inputs": inputs} if inputs else {}
    if left_out:
        more["left_out"] = left_out
    return b'{"content":%b%b' % (encoded, b"," + encode(more)[1:] if more else b"}")


def pack(document: bytes) -> str:
    """Returns a request as a record has it: itself, compressed, or `ELSEWHERE` when it is too large."""
    if len(document) <= _PLAIN:
        return document.decode()
    if len(document) <= _TRIED:
        packed = _COMPRESSED + b64encode(zlib.compress(document, 1)).decode()
        if len(packed) <= _IN_RECORD:
            return packed
    return ELSEWHERE


def unpack(packed: str) -> bytes:
    """Returns the document of what `pack` has returned, unless that is `ELSEWHERE`.

    Raises:
        ValueError: it is none.
    """
    if not packed.startswith(_COMPRESSED):
        return packed.encode()
    try:
        return zlib.decompress(b64decode(packed.removeprefix(_COMPRESSED)))
    except zlib.error as error:
        raise ValueError(f"not a kept request: {error}") from error


def decode_request(document: bytes) -> KeptRequest:
    """Reads a document.

    Raises:
        ValueError: it is none.
    """
    found: Any = decode(document)
    if not isinstance(found, dict) or not isinstance(found.get("content"), dict):
        raise ValueError("not a kept request")  # noqa: TRY004 - as for what is no JSON
    return KeptRequest(found["content"], found.get("inputs"), tuple(found.get("left_out", ())))

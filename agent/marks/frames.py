"""Frames between the agent and the process that signs: a JSON header, and blobs of bytes after it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import IO, Any, Final

_LENGTH: Final = struct.Struct(">Q")


def write_frame(stream: IO[bytes], header: dict[str, Any], blobs: Iterable[bytes]) -> None:
    """Writes a frame.

    Raises:
        OSError: the other side has gone.
    """
    parts = list(blobs)
    head = json.dumps({"header": header, "sizes": [len(part) for part in parts]}).encode()
    stream.write(_LENGTH.pack(len(head)))
    stream.write(head)
    for part in parts:
        stream.write(part)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Reads a frame.

    Raises:
        EOFError: the other side has gone.
    """
    (length,) = _LENGTH.unpack(_exactly(stream, _LENGTH.size))
    head = json.loads(_exactly(stream, length))
    return head["header"], [_exactly(stream, size) for size in head["sizes"]]


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data

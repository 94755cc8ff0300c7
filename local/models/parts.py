"""Cuts a file into the parts of a multipart upload, and computes what S3 says of them, so that either can be compared.

The checksum is S3's SHA-256 of an upload in parts: the SHA-256 of the parts' SHA-256s, a dash and their number
(Amazon S3 User Guide, "Checking object integrity"). The same file is always cut in the same way, so the same file has
the same checksum, and an interrupted upload can be gone on with.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SMALLEST: Final = 16 * 2**20
"""Bytes of a part, unless there would be too many; a file of up to that size goes in one piece."""
MOST_PARTS: Final = 10_000
"""Amazon S3 User Guide, "Amazon S3 multipart upload limits"."""


@dataclass(frozen=True)
class Part:
    """A piece of a file."""

    number: int
    """From 1."""
    offset: int
    length: int


@dataclass(frozen=True)
class SentPart:
    """A part that the bucket has already."""

    number: int
    size: int
    etag: str
    checksum: str | None
    """SHA-256 in base64; None where the uploader gave none."""


def cut(size: int) -> list[Part]:
    """Returns the parts of a file of so many bytes; an empty file is one empty part."""
    length = SMALLEST
    while length * MOST_PARTS < size:
        length *= 2
    return [
        Part(index + 1, offset, min(length, size - offset))
        for index, offset in enumerate(range(0, max(size, 1), length))
    ]


def fits(parts: Sequence[Part], sent: Mapping[int, SentPart]) -> bool:
    """Whether what was sent was cut in the same way, so that the upload can be gone on with."""
    lengths = {part.number: part.length for part in parts}
    return all(lengths.get(number) == item.size for number, item in sent.items())


def checksum(data: bytes) -> str:
    """Returns the SHA-256 of bytes as S3 writes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def whole(checksums: Sequence[str]) -> str:
    """Returns S3's checksum of an object from those of its parts; one part is sent as a whole object."""
    if len(checksums) == 1:
        return checksums[0]
    digests = b"".join(base64.b64decode(item) for item in checksums)
    return f"{checksum(digests)}-{len(checksums)}"


def read_part(path: Path, part: Part) -> bytes:
    """Returns the bytes of a part.

    Raises:
        OSError: the file cannot be read, or has become shorter.
    """
    with path.open("rb") as file:
        file.seek(part.offset)
        data = file.read(part.length)
    if len(data) != part.length:
        raise OSError(f"{path} has become shorter")
    return data


def checksum_of_file(path: Path, size: int, advance: Callable[[int], None]) -> str:
    """Returns the checksum that S3 has for a file that was uploaded from here.

    Args:
        path: of the file.
        size: bytes of the file.
        advance: is told the bytes of each part that was read.

    Raises:
        OSError: the file cannot be read.
    """
    checksums = []
    for part in cut(size):
        checksums.append(checksum(read_part(path, part)))
        advance(part.length)
    return whole(checksums)

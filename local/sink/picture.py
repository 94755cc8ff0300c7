"""Draws the sample picture that requests can name as their input: a cat, with nothing but the standard library."""

from __future__ import annotations

import struct
import zlib
from functools import cache
from typing import Final

SIZE: Final = 256
"""Pixels, both ways."""

_Colour = tuple[int, int, int]
_WALL: Final = (236, 214, 178)
_FUR: Final = (214, 132, 58)
_STRIPE: Final = (168, 92, 34)
_INNER_EAR: Final = (240, 178, 164)
_EYE: Final = (116, 176, 84)
_DARK: Final = (38, 28, 24)


@cache
def cat_png() -> bytes:
    """Returns the picture as a PNG of 256 by 256 pixels."""
    rows = b"".join(
        b"\x00" + bytes(value for x in range(SIZE) for value in _colour(x - SIZE // 2, y)) for y in range(SIZE)
    )
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    )


def _colour(x: int, y: int) -> _Colour:
    """Returns the colour at `x` right of the middle, `y` below the top."""
    side = abs(x)
    if _ellipse(side - 34, y - 128, 15, 18):
        return _DARK if _ellipse(side - 34, y - 128, 5, 15) else _EYE
    if _ellipse(x, y - 160, 10, 7) or (side <= 18 and 166 <= y <= 180 and abs(y - 180 + side // 2) < 3):
        return _DARK
    if _ellipse(x, y - 145, 88, 72):
        return _STRIPE if y < 112 and side % 24 < 8 and side < 40 else _FUR
    if 20 <= y < 120 and abs(side - 62) < (y - 20) * 0.45:
        return _INNER_EAR if y > 48 and abs(side - 62) < (y - 48) * 0.3 else _FUR
    return _WALL


def _ellipse(x: int, y: int, width: int, height: int) -> bool:
    return (x / width) ** 2 + (y / height) ** 2 <= 1


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

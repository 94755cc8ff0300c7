"""Bounds a JSON text by its bytes, before it becomes objects: three bytes of text can take a hundred of memory.

Nothing here looks at more than brackets, commas and quotes, and each step is one pass of C code over the text: a text
that is no JSON is bounded too, as far as a parser would read it.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final

MAX_VALUES: Final = 200_000
"""Values in one document, each list and object counted besides. The largest workflows have some ten thousand; at this
limit a document is parsed in some 50 ms and takes some 40 MB. Texts, such as images, may be as long as the body."""

MAX_DEPTH: Final = 100
"""Levels of nesting. A ComfyUI workflow needs five; the JSON and pydantic code behind the API stops near 200."""

MESSAGE_BOUNDS: Final = {"values": MAX_VALUES + 1_000, "depth": MAX_DEPTH + 10}
"""The same for what is made of a request: a task message puts the metadata and a level or two around its content."""

_NO_STRUCTURE: Final = bytes(set(range(256)) - set(b'[]{},"'))
_SLICE: Final = 256 * 1024
_BACKSLASHES: Final = re.compile(rb"\\+")
_STEP: Final = [1 if byte in b"[{" else -1 for byte in range(256)]


class ExcessError(ValueError):
    """A text that is beyond a bound; its message names the bound."""


def check_bounds(text: bytes | bytearray, *, values: int = MAX_VALUES, depth: int = MAX_DEPTH) -> None:
    """Accepts a JSON text of so many values and levels, however long it is.

    Raises:
        ExcessError: it has more.
    """
    opened = text.count(b"[") + text.count(b"{")
    if opened <= depth and opened + text.count(b",") <= values:
        return  # as nearly all: even if no bracket or comma were part of a text
    structure = _structure(text, values)
    brackets = structure.translate(None, b",")
    opened = brackets.count(b"[") + brackets.count(b"{")
    # No parser reads on where more was closed than is open.
    levels = accumulate(map(_STEP.__getitem__, brackets[: 2 * opened + 1]))
    if max(levels, default=0) > depth:
        raise ExcessError(f"it is nested more than {depth} levels deep")


def _structure(text: bytes | bytearray, values: int) -> bytes:
    """Returns the brackets and commas outside of texts, as soon as it is known that they are not too many.

    The text is looked at in slices: no piece of work stops other threads for long, and none needs the text's size
    again.
    """
    found: list[bytes] = []
    counted, quotes, begin = 0, 0, 0
    while begin < len(text):
        # An escape is not cut: a slice ends after the character that follows a row of backslashes.
        row = _BACKSLASHES.match(text, begin + _SLICE - 1)
        end = row.end() + 1 if row else begin + _SLICE
        marks = bytes(_without_escapes(text[begin:end]).translate(None, _NO_STRUCTURE))
        parts = marks.split(b'"')
        outside = b"".join(parts[quotes % 2 :: 2])
        quotes += len(parts) - 1
        counted += len(outside) - outside.count(b"]") - outside.count(b"}")
        # Two quotes for each text, at most a key and a value of text for each value.
        if counted > values or quotes > 4 * values + 4:
            raise _too_many(values)
        found.append(outside)
        begin = end
    return b"".join(found)


def _without_escapes(text: bytes | bytearray) -> bytes | bytearray:
    """Returns a text without the quotes that are escaped; what else is escaped is of no interest."""
    if b"\\" not in text:
        return text
    # Pairs first: what is left of a row of backslashes before a quote escapes it.
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")


def _too_many(values: int) -> ExcessError:
    return ExcessError(f"it has more than {values:,} values; a long list of numbers travels as a file behind a link")

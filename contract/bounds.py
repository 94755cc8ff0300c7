"""Bounds a JSON text by its bytes, before it becomes objects: three bytes of text can take a hundred of memory.

Nothing here looks at more than brackets, commas and quotes, and each step is one pass of C code over the text: a text
that is no JSON is bounded too, as far as a parser would read it.
"""

from __future__ import annotations

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
    if opened + len(structure) - len(brackets) > values:
        raise _too_many(values)
    # No parser reads on where more was closed than is open.
    levels = accumulate(map(_STEP.__getitem__, brackets[: 2 * opened + 1]))
    if max(levels, default=0) > depth:
        raise ExcessError(f"it is nested more than {depth} levels deep")


def _structure(text: bytes | bytearray, values: int) -> bytes:
    """Returns the brackets and commas outside of texts."""
    if b"\\" in text:
        # Pairs first: what is left of a row of backslashes before a quote escapes it.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = bytes(text.translate(None, _NO_STRUCTURE))
    # Two quotes for each text, at most a key and a value of text for each value.
    if marks.count(b'"') > 4 * values + 4:
        raise _too_many(values)
    return b"".join(marks.split(b'"')[::2])


def _too_many(values: int) -> ExcessError:
    return ExcessError(f"it has more than {values:,} values; a long list of numbers travels as a file behind a link")

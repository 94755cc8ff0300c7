"""JSON as the API and the agent read and write it: quick, strict, and with whole numbers of any size.

orjson turns whole numbers beyond 64 bits into floats without a word. Texts that may hold one, which are rare, are read
and written by pydantic's own JSON code instead.
"""

from __future__ import annotations

import json
from typing import Any, Final

import orjson
from pydantic_core import from_json, to_json

_DIGITS: Final = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_LONG: Final = b"0" * 19
"""2**63 has nineteen digits, 2**64 twenty."""

_SLICE: Final = 1024 * 1024


def decode(text: bytes | bytearray) -> Any:
    """Returns the document in a strict JSON text: UTF-8, no NaN, no number beyond a double's range, no lone surrogate.

    Of a key that is there twice the last value counts (RFC 8259, section 4, leaves it open; JavaScript does the same).

    Raises:
        orjson.JSONDecodeError: it is none; `msg`, `lineno` and `colno` say where not.
    """
    document = orjson.loads(text)
    if _may_hold_long_number(text):
        del document  # it was read because orjson is the stricter of the two
        return from_json(text)
    return document


def encode(document: Any) -> bytes:
    """Returns a document as JSON; times come out as RFC 3339 in UTC with a `Z`."""
    try:
        return orjson.dumps(document, option=orjson.OPT_UTC_Z)
    except TypeError:
        return to_json(document)


def encode_sorted(document: Any) -> bytes:
    """Returns a document as JSON that does not depend on the order of its keys."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _may_hold_long_number(text: bytes | bytearray) -> bool:
    # In slices, which fit the processor's cache and need no second copy of twenty MiB.
    return any(_LONG in text[at : at + _SLICE + len(_LONG)].translate(_DIGITS) for at in range(0, len(text), _SLICE))

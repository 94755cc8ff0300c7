"""JSON as the API and the agent read and write it: quick, strict, and with whole numbers of any size.

orjson turns whole numbers beyond 64 bits into floats without a word. Texts that may hold one, which are rare, are read
by pydantic's JSON code instead, and written by the code below.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from pydantic_core import from_json

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
        return _encode_long(document)


def encode_sorted(document: Any) -> bytes:
    """Returns a document as JSON that does not depend on the order of its keys."""
    try:
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _encode_long(document, in_order=True)


def _encode_long(document: Any, *, in_order: bool = False) -> bytes:
    """Returns a document with whole numbers beyond 64 bits as JSON.

    Piece by piece in Python, which lets other threads go on meanwhile: one call into C for all of it would stop the
    event loop for as long as thousands of such numbers, or a large image beside one of them, take.
    """
    out = bytearray()
    _write(document, out, in_order=in_order)
    return bytes(out)


def _write(value: Any, out: bytearray, *, in_order: bool) -> None:
    if isinstance(value, dict):
        separator = b"{"
        for key, item in sorted(value.items(), key=_key) if in_order else value.items():
            out += separator + orjson.dumps(key) + b":"
            _write(item, out, in_order=in_order)
            separator = b","
        out += b"}" if value else b"{}"
    elif isinstance(value, list | tuple):
        separator = b"["
        for item in value:
            out += separator
            _write(item, out, in_order=in_order)
            separator = b","
        out += b"]" if value else b"[]"
    elif isinstance(value, int) and not isinstance(value, bool):
        out += b"%d" % value
    else:
        out += orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _key(item: tuple[str, Any]) -> str:
    return item[0]


def _may_hold_long_number(text: bytes | bytearray) -> bool:
    if len(text) <= _SLICE:
        return _LONG in text.translate(_DIGITS)
    # In slices, which fit the processor's cache and need no second copy of twenty MiB.
    return any(_LONG in text[at : at + _SLICE + len(_LONG)].translate(_DIGITS) for at in range(0, len(text), _SLICE))

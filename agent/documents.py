"""Reads and writes JSON, away from the event loop when it is large."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import orjson

from agent.errors import PermanentError
from contract.documents import decode

_DOUBLE_DIGITS: Final = 308
"""Of every whole number with so many digits (IEEE 754: 1.8e308 is the largest double)."""

THREAD_THRESHOLD: Final = 256 * 1024
"""Bytes above which encoding and decoding leave the event loop, so that the heartbeat goes on."""


async def encode_json(document: Any) -> bytes:
    """Returns a document as JSON; away from the event loop when it is large, as requests that carry images are.

    Raises:
        PermanentError: it is nested deeper than JSON encoders go.
    """
    try:
        if _weight(document) <= THREAD_THRESHOLD:
            # A thread takes its time to begin, and meanwhile the GPU would wait.
            return _encode(document)
        return await asyncio.to_thread(_encode, document)
    except RecursionError as error:
        raise PermanentError("invalid_content", "the content is nested too deeply") from error


async def decode_json(body: bytes) -> Any:
    """Reads JSON; away from the event loop when it is large. See `read_json`.

    Raises:
        ValueError: it is no JSON.
    """
    if len(body) > THREAD_THRESHOLD:
        return await asyncio.to_thread(read_json, body)
    return read_json(body)


def read_json(text: bytes | str) -> Any:
    """Reads JSON as Python writes it, which is what servers in Python send: with `NaN`, `Infinity`, lone surrogates.

    ComfyUI takes "nan" for any number, and every answer that echoes the workflow then holds it (seen on 0.3.64).

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return decode(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    except ValueError:
        try:
            return json.loads(text, parse_int=_whole)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _whole(digits: str) -> float:
    """Returns a whole number; one beyond the range of a double, with which nobody can reckon, as `inf`."""
    return int(digits) if len(digits) <= _DOUBLE_DIGITS else float(digits)


def json_object(body: bytes) -> dict[str, Any]:
    """Returns the JSON object in a short text; an empty one when it holds none."""
    try:
        document = read_json(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _weight(document: Any) -> int:
    """Returns about how many bytes a document is as JSON: each value counts some, a text its length."""
    total, waiting = 0, [document]
    while waiting and total <= THREAD_THRESHOLD:
        item = waiting.pop()
        total += 16
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return total


def _encode(document: Any) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:
        # Whole numbers beyond 64 bits and lone surrogates: Python's JSON takes both, so the runtime may judge them.
        return json.dumps(document).encode()

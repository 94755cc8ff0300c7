"""What servers tell of their environment: asked for politely, and taken with care.

A route that is not there, or answers nonsense, tells nothing: that part is unknown then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.documents import decode_json
from agent.errors import PermanentError
from agent.runtimes.http import Server

ASK_TIMEOUT: Final = 60.0
"""Seconds; some look through their packages, or their disk, to tell."""

MOST: Final = 8 * 1024 * 1024
"""Bytes of one such answer."""

_LONGEST: Final = 300
"""Characters of a name or a version."""


async def ask(server: Server, path: str) -> Any:
    """Returns the document that a server answers a GET with; None where it has no such route, or says no JSON.

    Raises:
        RuntimeUnavailableError, TransientError: as `Server.request`.
    """
    try:
        reply = await server.request("GET", path, timeout=ASK_TIMEOUT, most=MOST)
        return await decode_json(reply.body) if reply.ok else None
    except (PermanentError, ValueError):
        return None


def told(document: Any, *keys: str) -> Any:
    """Returns what lies in a document under the keys, one within the other; None where there is nothing."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def entries(document: Any) -> list[Mapping[str, Any]] | None:
    """Returns the objects of a list; None where there is no list."""
    return [item for item in document if isinstance(item, dict)] if isinstance(document, list) else None


def word(value: Any) -> str | None:
    """Returns a text as a lock may have it; None where there is none."""
    if not isinstance(value, str) or not value.strip():
        return None
    return value.strip()[:_LONGEST].encode("utf-8", "replace").decode()


def count(value: Any) -> int | None:
    """Returns a number of bytes; None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def words(document: Any) -> dict[str, str]:
    """Returns the texts of an object, by their keys."""
    if not isinstance(document, dict):
        return {}
    return {name[:_LONGEST]: text for name, value in document.items() if (text := word(value)) is not None}


def python_version(value: Any) -> dict[str, str]:
    """Returns the version in a text such as Python's own `sys.version`, as a package."""
    text = word(value)
    return {"python": text.split()[0]} if text else {}

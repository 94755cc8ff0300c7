"""Takes the secrets that a request carries in `extra_data` out of what the server answers, before it is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from contract.secrets import SECRET_NAME

HIDDEN: Final = b'"***"'
"""What stands in a secret's place."""

_EVERYWHERE: Final = 8
"""Characters from which a secret is looked for in every field: a node may echo it under any name."""


def without_secrets(raw: bytes, extra_data: Any) -> bytes:
    """Returns an answer in which the secrets of `extra_data` are hidden. Newer servers hide ComfyUI's own two.

    Args:
        raw: JSON.
        extra_data: what the request carried.
    """
    for name, secret in set(_secrets(extra_data)):
        for ascii_only in (True, False):
            key, value = (json.dumps(text, ensure_ascii=ascii_only).encode() for text in (name, secret))
            raw = re.sub(rb"(%s\s*:\s*)%s" % (re.escape(key), re.escape(value)), rb"\1" + HIDDEN, raw)
            if len(secret) >= _EVERYWHERE:
                raw = raw.replace(value, HIDDEN)
    return raw


def _secrets(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yields name and value of each text whose field's name says that it is secret."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, str(key))
    elif isinstance(value, list):
        for item in value:
            yield from _secrets(item, name)
    elif isinstance(value, str) and value and SECRET_NAME.search(name):
        yield name, value

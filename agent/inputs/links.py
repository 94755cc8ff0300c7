"""Finds the links in a task's content, and puts something else in their places."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from agent.errors import PermanentError

# What begins as a web address is one, whatever follows: SD Web UI itself opens any image that begins so, with spaces
# in it too, and follows redirects to wherever they lead. An object in S3 may have spaces in its name.
_LINK: Final = re.compile(r"\s*(?:(?:https?|s3)://.*|(?:[a-z][a-z0-9+.-]*://|file:)\S+\s*)", re.IGNORECASE | re.DOTALL)
_LINK_START: Final = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*://|file:)", re.IGNORECASE)
_DEEPEST: Final = 100

type IsLink = Callable[[str], bool]
type IsText = Callable[[str], bool]
"""Tells whether a field of that name holds words, in which an address is no link."""


def is_link(text: str) -> bool:
    """Tells whether a text is an address, of any scheme, spaces around it aside.

    Addresses that are never fetched (`file:`, `ftp://` …) count: left in place, the runtime might open them.
    """
    return _LINK.fullmatch(text) is not None


def starts_as_link(text: str) -> bool:
    """Tells whether a text starts as an address does, whatever follows.

    The test for servers that fetch links themselves and look at the start only, as SD Web UI does with images
    (modules/api/api.py, `decode_base64_to_image`): what is not recognised here would be fetched there, unguarded.
    """
    return _LINK_START.match(text) is not None


def find_links(content: Any, *, is_text: IsText, is_link: IsLink = is_link) -> list[str]:
    """Returns each link in a content once, in the order of their first places."""
    found: dict[str, None] = {}

    def note(text: str) -> str:
        found.setdefault(text)
        return text

    _rewrite(content, lambda text: note(text) if is_link(text) else text, is_text)
    return list(found)


def replace_links(content: Any, replacements: Mapping[str, str], *, is_text: IsText) -> Any:
    """Returns a copy of a content in which each link that has a replacement is replaced."""
    return _rewrite(content, lambda text: replacements.get(text, text), is_text)


def _rewrite(value: Any, change: Callable[[str], str], is_text: IsText, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise PermanentError("invalid_content", f"the content is nested more than {_DEEPEST} levels deep")
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_rewrite(item, change, is_text, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            key: item if is_text(str(key)) else _rewrite(item, change, is_text, depth + 1)
            for key, item in value.items()
        }
    return value

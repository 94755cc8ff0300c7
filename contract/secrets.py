"""Finds the secrets that a request carries for its runtime, so that nobody stores them."""

from __future__ import annotations

import re
from typing import Any, Final

SECRET_NAME: Final = re.compile(r"key|token|secret|password|auth|credential", re.IGNORECASE)
"""Names of fields of ComfyUI's `extra_data` that hold secrets, such as `api_key_comfy_org` and `auth_token_comfy_org`,
ComfyUI's own."""

_ANYWHERE: Final = re.compile(
    r"api[-_ ]?key|(?:^|[-_ ])token$|(?:auth|access|bearer|refresh|session)[-_ ]?token|secret|passw(?:or)?d"
    r"|authorization|credential|private[-_ ]?key",
    re.IGNORECASE,
)
"""The same in the rest of a request, where "key" and "token" have other meanings (keyframes, tokenizers)."""

_IN_ADDRESS: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s@]*:[^/?#\s@]*@", re.IGNORECASE)
"""User and password of a URL (RFC 3986, section 3.2.1)."""


def may_hold_secrets(content: bytes) -> bool:
    """Tells whether a request, as JSON without escaped letters, has to be looked at piece by piece."""
    text = content.lower()
    # Each task passes here: a search for each word is quicker than a loop, or than one search for all of them.
    return (
        b"token" in text
        or b"api" in text
        or b"secret" in text
        or b"passw" in text
        or b"auth" in text
        or b"credential" in text
        or b"private" in text
        or b"extra_data" in text
        or (b"://" in text and b"@" in text)
    )


def without_secrets(content: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Returns a request without its secrets, and where they were, as JSON pointers (RFC 6901).

    A secret is a text under a name that says so, or a URL with a password; its field is left out.
    """
    left_out: list[str] = []
    kept: dict[str, Any] = _without(content, "", left_out, _ANYWHERE)
    return kept, left_out


def _without(value: Any, place: str, left_out: list[str], names: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        kept = {}
        for key, item in value.items():
            here = f"{place}/{key.replace('~', '~0').replace('/', '~1')}"
            if _is_secret(item) and (names.search(key) or _is_address(item)):
                left_out.append(here)
            else:
                inner = SECRET_NAME if key == "extra_data" else names
                kept[key] = _without(item, here, left_out, inner)
        return kept
    if isinstance(value, list):
        return [_without(item, f"{place}/{number}", left_out, names) for number, item in enumerate(value)]
    return value


def _is_secret(value: Any) -> bool:
    """Tells whether a value may be a secret: a text, or a list of texts; the link of a workflow's node is none."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, str) for item in value)
    return isinstance(value, str) and bool(value)


def _is_address(value: Any) -> bool:
    return any(_IN_ADDRESS.match(item) for item in (value if isinstance(value, list) else [value]))

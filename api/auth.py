"""Tells which API key a request carries."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from pydantic import SecretStr

ANONYMOUS: Final = ""
"""The owner of every request when no keys are configured."""


class KeyRing:
    """The named API keys of a deployment."""

    def __init__(self, keys: Mapping[str, SecretStr]) -> None:
        # Digests have one length, so that comparing them tells nothing about a key's length either.
        self._digests = tuple((name, _digest(key.get_secret_value())) for name, key in keys.items())

    @property
    def open(self) -> bool:
        """Whether everybody may call, because no keys are configured."""
        return not self._digests

    def owner(self, presented: str | None) -> str | None:
        """Returns the name of the key that was presented, or None when it is none of ours.

        Every key is compared, and each in constant time: the time taken does not tell how near a guess was, nor to
        which key.
        """
        if self.open:
            return ANONYMOUS
        if presented is None:
            return None
        candidate = _digest(presented)
        found: str | None = None
        for name, digest in self._digests:
            if hmac.compare_digest(digest, candidate):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

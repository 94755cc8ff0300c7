"""Tells who calls: whose API key a request carries, and which tenant's tasks it is about."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import SecretStr

from contract.identifiers import check_tenant


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    name: str
    """The name of the API key: it has a throttle and idempotency keys of its own."""
    tenant: str
    """Whose tasks it submits and sees; empty: the shared space."""
    admin: bool = False
    """It may also read and cancel every other tenant's tasks."""


ANONYMOUS = Caller("", "")
"""Everybody, when no keys are configured."""


@dataclass(frozen=True, slots=True)
class NamedKey:
    """One configured API key. Several may have one name, so that a key can be replaced by another."""

    name: str
    key: SecretStr
    admin: bool = False


def parse_keys(text: str, *, admin: bool) -> tuple[NamedKey, ...]:
    """Reads `name=key,name2=key2`.

    Raises:
        ValueError: an entry is something else; the text tells which one by its number.
    """
    keys = []
    for number, part in enumerate((item.strip() for item in text.split(",")), start=1):
        if not part:
            continue
        name, separator, key = part.partition("=")
        name, key = name.strip(), key.strip()
        # The entry itself is never shown: without a '=' it is most likely a bare key.
        if not separator or not name or not key:
            raise ValueError(f"entry {number} is not name=key")
        if not (name.isprintable() and key.isascii() and key.isprintable()):
            raise ValueError(f"entry {number} holds characters that a header cannot carry")
        keys.append(NamedKey(name, SecretStr(key), admin))
    return tuple(keys)


def check_keys(keys: Iterable[NamedKey], *, shared: bool) -> None:
    """Checks that no key is there twice, and that names are tenants where they have to be.

    Raises:
        ValueError: the text names the variable and the names; no key is in it.
    """
    seen: dict[str, NamedKey] = {}
    for item in keys:
        other = seen.setdefault(item.key.get_secret_value(), item)
        if other is not item:
            twice = (
                f"two names, {other.name!r} and {item.name!r}" if other.name != item.name else f"{item.name!r} twice"
            )
            raise ValueError(f"API_KEYS: one key is there under {twice}")
        try:
            if not shared:
                check_tenant(item.name)
        except ValueError as error:
            raise ValueError(
                f"{'API_ADMIN_KEYS' if item.admin else 'API_KEYS'}: {item.name!r} is no tenant: {error}. "
                "With API_KEYS_SHARED=true names are free, and all keys share one space of tasks"
            ) from error


class KeyRing:
    """The API keys of a deployment.

    Args:
        keys: none: everybody may call.
        shared: all keys share one space of tasks; otherwise a key's name is its tenant.
    """

    def __init__(self, keys: Iterable[NamedKey], *, shared: bool = False) -> None:
        # Digests have one length, so that comparing them tells nothing about a key's length either.
        self._callers = tuple(
            (_digest(item.key.get_secret_value()), Caller(item.name, "" if shared else item.name, item.admin))
            for item in keys
        )

    @property
    def open(self) -> bool:
        """Whether everybody may call, because no keys are configured."""
        return not self._callers

    def has_name(self, name: str) -> bool:
        """Tells whether a key has this name."""
        return any(caller.name == name for _, caller in self._callers)

    def caller(self, presented: str | None) -> Caller | None:
        """Returns whose key was presented, or None when it is none of ours.

        Every key is compared, and each in constant time: the time taken does not tell how near a guess was, nor to
        which key.
        """
        if self.open:
            return ANONYMOUS
        if presented is None:
            return None
        candidate = _digest(presented)
        found: Caller | None = None
        for digest, caller in self._callers:
            if hmac.compare_digest(digest, candidate):
                found = caller
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

"""The secrets by which webhooks are signed: a tenant's own, or one that is derived for it.

Standard Webhooks, "Signature scheme": a secret is 24 to 64 random bytes, written as `whsec_` and their base64. While
one replaces another, both sign.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from contract.identifiers import check_tenant

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
LEAST_ROOT: Final = 24
"""Characters."""

_PURPOSE: Final = b"darkroom webhooks\0"


@dataclass(frozen=True)
class Secrets:
    """All secrets of a deployment; the first of several is the newest."""

    roots: tuple[str, ...] = field(default=(), repr=False)
    """From each a secret is derived for every tenant, and one for the shared space."""
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """A tenant's, instead of derived ones."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `root,tenant=whsec_…,tenant=whsec_…`, each as often as there are secrets that are to sign.

        Raises:
            ValueError: an entry is something else; the text tells which one by its number, and holds no secret.
        """
        roots: list[str] = []
        own: dict[str, tuple[str, ...]] = {}
        for number, part in enumerate((item.strip() for item in text.split(",")), start=1):
            if not part:
                continue
            tenant, separator, secret = part.partition(f"={PREFIX}")
            if separator:
                try:
                    check_tenant(tenant)
                    _check(secret)
                except ValueError as error:
                    raise ValueError(f"entry {number}: {error}") from error
                own[tenant] = (*own.get(tenant, ()), PREFIX + secret)
            elif len(part) < LEAST_ROOT or not part.isascii():
                raise ValueError(
                    f"entry {number} is neither tenant={PREFIX}… nor at least {LEAST_ROOT} ASCII characters that "
                    "nobody can guess"
                )
            else:
                roots.append(part)
        return cls(tuple(roots), own)

    def of(self, tenant: str) -> tuple[str, ...]:
        """Returns a tenant's secrets (empty: the shared space's), the newest first; none: it has none."""
        return self.own.get(tenant) or tuple(_derived(root, tenant) for root in self.roots)

    def __bool__(self) -> bool:
        """Whether anybody has one."""
        return bool(self.roots or self.own)


def _derived(root: str, tenant: str) -> str:
    key = hmac.digest(root.encode(), _PURPOSE + tenant.encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(key).decode()


def _check(secret: str) -> None:
    try:
        size = len(base64.b64decode(secret, validate=True))
    except ValueError as error:
        raise ValueError(f"what follows {PREFIX} is no base64") from error
    if not LEAST_BYTES <= size <= MOST_BYTES:
        raise ValueError(f"a secret is {LEAST_BYTES} to {MOST_BYTES} bytes; found {size}")

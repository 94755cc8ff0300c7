"""Decides who calls: by the API key that a request carries, or by what the gateway in front says of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final, Protocol

from pydantic import SecretStr
from starlette.types import Scope

from api.auth import Caller, KeyRing
from api.errors import ApiError
from contract.identifiers import check_tenant

KEY_HEADER: Final = "x-api-key"
GATEWAY_HEADER: Final = "x-darkroom-gateway"
"""By its secret, a gateway is known for what it is."""
KEY_ID_HEADER: Final = "x-darkroom-key-id"
"""The id of the API key that the gateway has checked. It overwrites what a client sends under this name."""

PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_PAGES: Final = frozenset({"/", "/docs", "/openapi.json", "/favicon.ico"})
_STATIC: Final = "/static/"


class Callers(Protocol):
    """Tells who calls, and which routes ask nobody.

    Everything asks that is not named as open, so that a new route is never open by mistake.
    """

    @property
    def open(self) -> bool:
        """Whether everybody may call."""

    def asks_nobody(self, path: str) -> bool:
        """Tells whether a path may be had by everybody."""

    def caller(self, scope: Scope) -> Caller:
        """Returns who sent a request.

        Raises:
            ApiError: 401, nobody that is known.
        """


class ByKey:
    """Each request carries an API key of ours."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    @property
    def open(self) -> bool:
        """See `Callers`. No keys are configured."""
        return self._keys.open

    def asks_nobody(self, path: str) -> bool:
        """See `Callers`."""
        return path in PROBES or path in _PAGES or path.startswith(_STATIC)

    def caller(self, scope: Scope) -> Caller:
        """See `Callers`."""
        presented = _header(scope, KEY_HEADER)
        caller = self._keys.caller(presented)
        if caller is None:
            problem = "the API key is not known" if presented else "an API key is required"
            raise _unauthorized(f"{problem}; send it in the header {KEY_HEADER}")
        return caller


class ByGateway:
    """A gateway has checked the API key; it proves itself by a secret, and says which key it was by the key's id.

    Args:
        secrets: any of which the gateway may send: two while one is being replaced by another.
        names: the ids that have a name, and so a tenant, of ours. Any other id is a tenant of its own.
        shared: all keys share one space of tasks.
    """

    open = False

    def __init__(self, secrets: Iterable[SecretStr], names: KeyRing, *, shared: bool) -> None:
        self._names = names
        self._shared = shared
        self._digests: tuple[bytes, ...] = ()
        self.believe(secrets)

    def believe(self, secrets: Iterable[SecretStr]) -> None:
        """From now on, believes whoever sends one of these secrets."""
        self._digests = tuple(_digest(secret.get_secret_value()) for secret in secrets)

    def asks_nobody(self, path: str) -> bool:
        """See `Callers`. The page, too, comes through the gateway."""
        return path in PROBES

    def caller(self, scope: Scope) -> Caller:
        """See `Callers`."""
        # A header that is there twice is no gateway's, which overwrites it: somebody has slipped one in.
        candidate = _digest(_header(scope, GATEWAY_HEADER) or "")
        if not any([hmac.compare_digest(digest, candidate) for digest in self._digests]):  # noqa: C419 - each, always
            raise _unauthorized("this API is called through its gateway alone; use the gateway's address")
        key_id = _header(scope, KEY_ID_HEADER)
        if not key_id:
            raise _unauthorized("the gateway does not say which API key it was")
        known = None if self._names.open else self._names.caller(key_id)
        if known is None and self._names.has_name(key_id):
            # Where clients choose the ids of their keys, one must not become another's tenant by its name.
            raise _unauthorized("the id of this API key is the name of another one; give it a name in API_KEYS")
        return known or Caller(key_id, "" if self._shared else _tenant(key_id))


def _tenant(key_id: str) -> str:
    try:
        return check_tenant(key_id)
    except ValueError as error:
        raise _unauthorized("the id of this API key is no tenant's name; give it one in API_KEYS") from error


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, "unauthorized", message, headers={"www-authenticate": f'ApiKey header="{KEY_HEADER}"'})


def _header(scope: Scope, name: str) -> str | None:
    """Returns the one header of that name (lower case); None when there is none, or more than one."""
    wanted = name.encode()
    values = [value for key, value in scope["headers"] if key == wanted]
    return values[0].decode("latin-1") if len(values) == 1 else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

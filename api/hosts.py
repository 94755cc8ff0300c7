"""Refuses requests for a host name that is none of ours, before anything else looks at them."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import ApiError
from contract.hosts import AllowedHosts, refusal

_MOST_SEEN: Final = 256
"""Headers that are remembered; a server has a few names, and each may come with any port."""


class Hosts:
    """Lets a request pass when each of its `Host` headers is allowed; see `contract/hosts.py`."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed
        self._seen: set[bytes] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"host" and value not in self._seen and (refused := self._refused(value)):
                    await refused.answer()(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _refused(self, header: bytes) -> ApiError | None:
        """Returns why a header is refused; one that is allowed is remembered."""
        host = header.decode("latin-1")
        if self._allowed.first_refused([host]) is not None:
            return ApiError(403, "host_not_allowed", refusal(host), details={"host": host[:80]})
        if len(self._seen) < _MOST_SEEN:
            self._seen.add(header)
        return None

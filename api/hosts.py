"""Refuses requests for a host name that is none of ours, before anything else looks at them."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import ApiError
from contract.hosts import AllowedHosts, refusal


class Hosts:
    """Lets a request pass when each of its `Host` headers is allowed; see `contract/hosts.py`."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http":
            hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            refused = self._allowed.first_refused(hosts)
            if refused is not None:
                error = ApiError(403, "host_not_allowed", refusal(refused), details={"host": refused[:80]})
                await error.answer()(scope, receive, send)
                return
        await self._app(scope, receive, send)

"""Takes the API key from where v2's clients put it, `Authorization: Bearer`, to where `/v1` looks for it."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from api.callers import KEY_HEADER
from api.comfy_v2.paths import is_ours

_KEY: Final = KEY_HEADER.encode()
_SCHEME: Final = b"bearer "


class BearerKeys:
    """On v2's paths, a bearer token counts as the API key, unless the request has one besides."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http" and is_ours(scope["path"]):
            scope["headers"] = with_key(scope["headers"])
        await self._app(scope, receive, send)


def with_key(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Returns headers with the API key that a bearer token is; unchanged when there is none, or more than one."""
    tokens = [value for name, value in headers if name == b"authorization"]
    if len(tokens) != 1 or tokens[0][: len(_SCHEME)].lower() != _SCHEME or any(name == _KEY for name, _ in headers):
        return headers
    return [*headers, (_KEY, tokens[0][len(_SCHEME) :].strip())]

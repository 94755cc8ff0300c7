"""The API as the sample application calls it: with the key of whoever calls, and nothing of its own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

import aiohttp
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from yarl import URL

from api.callers import KEY_HEADER
from api.errors import ApiError, UnavailableError

_HOP_BY_HOP: Final = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
        *("proxy-authenticate", "proxy-authorization", "host"),
    }
)
"""Headers that are about one connection (RFC 9110, 7.6.1), and the host's name, which is another one there."""

_CONNECT_SECONDS: Final = 5.0
_SILENT_SECONDS: Final = 900.0
"""As long as API Gateway keeps a stream."""

_ASK_SECONDS: Final = 10.0
_REMEMBERED_SECONDS: Final = 60.0
_REMEMBERED: Final = 10_000
"""Answers about who may see whose tasks."""


class Upstream:
    """Calls the API.

    Args:
        session: of the HTTP client.
        url: of the API, without a slash at its end.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._known: dict[tuple[bytes, str | None], tuple[float, int]] = {}

    async def forward(self, request: Request) -> Response:
        """Hands a request on, and its answer back, both piece by piece.

        Raises:
            UnavailableError: the API does not answer.
        """
        path: bytes = request.scope.get("raw_path") or request.url.path.encode()
        query: bytes = request.scope.get("query_string", b"")
        target = f"{self._url}{path.decode('latin-1')}{f'?{query.decode("latin-1")}' if query else ''}"
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        try:
            answer = await self._session.request(
                request.method,
                URL(target, encoded=True),
                headers=[(name, value) for name, value in request.headers.items() if name not in _HOP_BY_HOP],
                data=request.stream() if has_body else None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS),
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ClientDisconnect) as error:
            raise UnavailableError("the API is out of reach; try again", code="api_unreachable") from error
        response = StreamingResponse(_pieces(answer), status_code=answer.status)
        response.raw_headers = [
            (name.lower(), value) for name, value in answer.raw_headers if name.decode().lower() not in _HOP_BY_HOP
        ]
        return response

    async def check(self, key: str | None) -> None:
        """Lets a caller pass whose key the API knows.

        Raises:
            ApiError: 401.
            UnavailableError: the API does not answer.
        """
        if await self._status(key, None) != HTTPStatus.OK:
            raise ApiError(401, "unauthorized", f"an API key that the API knows is required in the header {KEY_HEADER}")

    async def may_see(self, key: str | None, tenant: str) -> bool:
        """Tells whether the owner of a key may see a tenant's tasks; the API decides, and is asked once a minute.

        Raises:
            UnavailableError: the API does not answer.
        """
        return await self._status(key, tenant) == HTTPStatus.OK

    async def _status(self, key: str | None, tenant: str | None) -> int:
        who = hashlib.sha256((key or "").encode("utf-8", "surrogatepass")).digest()
        until, status = self._known.get((who, tenant), (0.0, 0))
        if until > time.monotonic():
            return status
        try:
            async with self._session.get(
                f"{self._url}/v1/tasks",
                params={"limit": "1", **({} if tenant is None else {"tenant": tenant})},
                headers={KEY_HEADER: key} if key else {},
                timeout=aiohttp.ClientTimeout(total=_ASK_SECONDS),
                allow_redirects=False,
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise UnavailableError("the API is out of reach; try again", code="api_unreachable") from error
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
            raise UnavailableError("the API cannot tell whose tasks these are; try again", code="api_unreachable")
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[who, tenant] = (time.monotonic() + _REMEMBERED_SECONDS, status)
        return status


async def _pieces(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.content.iter_any():
            yield piece
    finally:
        answer.close()

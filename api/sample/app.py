"""Puts the sample application together: the console's files, the callbacks, and all else from the API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from api.answers import json_answer
from api.callers import KEY_HEADER
from api.errors import ApiError, UnavailableError
from api.hosts import Hosts
from api.middleware import SECURITY_HEADERS
from api.pages import Pages
from api.routes.operations import unknown_route
from api.sample.callbacks import Callbacks
from api.sample.settings import SampleSettings
from api.sample.upstream import Upstream
from contract.heard_callbacks import Heard
from contract.hosts import AllowedHosts

CALLBACKS: Final = "/callbacks"
"""Where the console finds them."""

_KEEP_ALIVE: Final = 15.0
"""Seconds between comments on a silent event stream, so that nobody in between hangs up."""

_METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def create_sample(settings: SampleSettings) -> ASGIApp:
    """Returns the ASGI application."""
    callbacks = Callbacks()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # Any: the session's methods are typed by literal service names of stubs that are not installed.
        session: Any = get_session()
        config = AioConfig(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3})
        async with (
            session.create_client(
                "sqs",
                region_name=settings.aws_region,
                endpoint_url=settings.aws_endpoint_url or None,
                config=config,
            ) as sqs,
            # As it comes, packed or not, and without a cookie of anybody's.
            aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0),
            ) as http,
        ):
            app.state.upstream = Upstream(http, settings.api_url)
            listening = asyncio.create_task(callbacks.listen(sqs, settings.callback_queue_url))
            yield
            listening.cancel()
            await asyncio.wait([listening])

    app = Starlette(
        routes=[*_pages(settings), *_callback_routes(callbacks), *_forwarded()],
        lifespan=lifespan,
        exception_handlers={ApiError: _api_error, 404: _not_found},
    )
    return Hosts(app, AllowedHosts.of(settings.allowed_hosts, listening_on=settings.host))


def _pages(settings: SampleSettings) -> list[Route]:
    pages = Pages(settings.image_sources.split(), settings.upload_sources.split(), CALLBACKS)

    async def page(request: Request) -> Response:
        return _guarded(pages.answer("index.html", request))

    async def docs(request: Request) -> Response:
        return _guarded(pages.answer("docs.html", request))

    async def static(request: Request) -> Response:
        return _guarded(pages.answer(request.path_params["name"], request))

    async def icon(request: Request) -> Response:
        return _guarded(pages.answer("icon.svg", request))

    async def healthz(_: Request) -> Response:
        return json_answer({"status": "alive"})

    return [
        Route("/", page, methods=["GET"]),
        Route("/docs", docs, methods=["GET"]),
        Route("/static/{name:path}", static, methods=["GET"]),
        Route("/favicon.ico", icon, methods=["GET"]),
        Route("/healthz", healthz, methods=["GET"]),
    ]


def _callback_routes(callbacks: Callbacks) -> list[Route]:
    async def deliveries(request: Request) -> Response:
        """Answers the callbacks of one task, or all that the key may see, newest first."""
        upstream, key = _upstream(request), request.headers.get(KEY_HEADER)
        await upstream.check(key)
        tenant = request.query_params.get("tenant")
        found = callbacks.newest_first(request.query_params.get("id"))
        return _guarded(
            json_answer(
                [
                    item.as_json()
                    for item in found
                    if tenant in {None, item.tenant} and await upstream.may_see(key, item.tenant)
                ]
            )
        )

    async def events(request: Request) -> Response:
        """Sends what is remembered, oldest first, and then each new callback as a server-sent event."""
        upstream, key = _upstream(request), request.headers.get(KEY_HEADER)
        await upstream.check(key)
        return _guarded(
            StreamingResponse(
                _events(callbacks, upstream, key),
                media_type="text/event-stream",
                headers={"cache-control": "no-store"},
            )
        )

    return [
        Route(f"{CALLBACKS}/deliveries", deliveries, methods=["GET"]),
        Route(f"{CALLBACKS}/events", events, methods=["GET"]),
    ]


async def _events(callbacks: Callbacks, upstream: Upstream, key: str | None) -> AsyncIterator[bytes]:
    async def told(heard: Heard) -> bytes:
        try:
            if not await upstream.may_see(key, heard.tenant):
                return b""
        except UnavailableError:
            # Nobody is shown what nobody has allowed; the page asks anew when it is opened again.
            return b""
        return b"event: callback\ndata: " + json.dumps(heard.as_json()).encode() + b"\n\n"

    with callbacks.waiting() as queue:
        yield b": listening\n\n"
        for item in reversed(callbacks.newest_first()):
            yield await told(item)
        while True:
            try:
                async with asyncio.timeout(_KEEP_ALIVE):
                    heard = await queue.get()
            except TimeoutError:
                yield b": still here\n\n"
            else:
                yield await told(heard)


def _forwarded() -> list[Route]:
    async def forward(request: Request) -> Response:
        return await _upstream(request).forward(request)

    paths = [f"/{version}{rest}" for version in ("v1", "v1alpha1", "v1alpha2") for rest in ("", "/{path:path}")]
    return [Route(path, forward, methods=_METHODS) for path in ("/openapi.json", *paths)]


def _upstream(request: Request) -> Upstream:
    upstream: Upstream = request.app.state.upstream
    return upstream


def _guarded(response: Response) -> Response:
    response.raw_headers.extend(SECURITY_HEADERS)
    return response


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _guarded(error.answer())


async def _not_found(request: Request, _: Exception) -> Response:
    return _guarded(unknown_route(request.url.path).answer())

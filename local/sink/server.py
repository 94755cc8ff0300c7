"""The sink's web server: the callbacks as JSON, as a page, as events, and a sample picture to use as an input."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from contract.heard_callbacks import KEPT, Heard, Memory
from contract.hosts import AllowedHosts, refusal
from local.sink.lines import Lines
from local.sink.origins import may_read
from local.sink.picture import cat_png
from local.sink.subscription import Listener

_PAGE: Final = Path(__file__).with_name("page.html")
_KEEP_ALIVE: Final = 15.0
"""Seconds between comments on a silent event stream, so that nobody in between hangs up."""

_SIGNED: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""What a receiver of webhooks verifies a body by (Standard Webhooks)."""


def make_app(memory: Memory, listener: Listener, hosts: AllowedHosts, lines: Lines | None = None) -> web.Application:
    """Returns the web application, which answers to these host names; `lines` has what other processes say."""

    @web.middleware
    async def known_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = hosts.first_refused(request.headers.getall("Host", []))
        if refused is None:
            return await handler(request)
        error = {"code": "host_not_allowed", "message": refusal(refused), "details": {"host": refused[:80]}}
        return web.json_response({"error": error}, status=403)

    async def share(request: web.Request, response: web.StreamResponse) -> None:
        """Lets the API's page, which has another port, read the answer (Fetch standard, "CORS protocol")."""
        origin = request.headers.get("Origin", "")
        response.headers["Vary"] = "Origin"
        if may_read(origin):
            response.headers["Access-Control-Allow-Origin"] = origin

    app = web.Application(middlewares=[known_host])
    app.on_response_prepare.append(share)

    async def page(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(_PAGE)

    async def callbacks(request: web.Request) -> web.Response:
        """Answers the callbacks exactly as they were published, newest first."""
        found = memory.newest_first(request.query.get("id"), request.query.get("tenant"))
        return web.json_response([item.body for item in found])

    async def deliveries(request: web.Request) -> web.Response:
        """Answers the same with message attributes and times of arrival."""
        found = memory.newest_first(request.query.get("id"), request.query.get("tenant"))
        return web.json_response([item.as_json() for item in found])

    async def picture(_: web.Request) -> web.Response:
        return web.Response(body=cat_png(), content_type="image/png")

    async def healthy(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def ready(_: web.Request) -> web.Response:
        listening = listener.listening.is_set()
        return web.json_response(
            {"status": "listening" if listening else "not subscribed to the callback topic yet"},
            status=200 if listening else 503,
        )

    async def events(request: web.Request) -> web.StreamResponse:
        return await _stream(request, memory)

    app.router.add_get("/", page)
    app.router.add_get("/callbacks", callbacks)
    app.router.add_get("/deliveries", deliveries)
    app.router.add_get("/events", events)
    _add_webhooks(app)
    _add_lines(app, lines)
    app.router.add_get("/samples/cat.png", picture)
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/readyz", ready)
    return app


def _add_webhooks(app: web.Application) -> None:
    """Lets an application be a receiver of webhooks."""
    webhooks: deque[dict[str, Any]] = deque(maxlen=KEPT)

    async def take_webhook(request: web.Request) -> web.Response:
        """Takes a webhook, as a receiver of yours would."""
        text = await request.text()
        headers = {name: request.headers.get(name, "") for name in _SIGNED}
        webhooks.appendleft({"received_at": datetime.now(UTC).isoformat(), "headers": headers, "body": text})
        return web.Response(status=204)

    async def show_webhooks(_: web.Request) -> web.Response:
        """Answers the webhooks that came, newest first, each with what signs it and its body as it was sent."""
        return web.json_response(list(webhooks))

    app.router.add_post("/webhooks", take_webhook)
    app.router.add_get("/webhooks", show_webhooks)


def _add_lines(app: web.Application, lines: Lines | None) -> None:
    """Lets an application show what the other processes say of a task, if it hears them."""
    if lines is None:
        return

    async def show_lines(request: web.Request) -> web.Response:
        """Answers the lines that name a task, the oldest first."""
        return web.json_response([asdict(line) for line in lines.about(request.query.get("id", ""))])

    app.router.add_get("/lines", show_lines)


async def _stream(request: web.Request, memory: Memory) -> web.StreamResponse:
    """Sends what is remembered, oldest first, and then each new callback as a server-sent event."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    with memory.waiting() as queue:
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):
            for item in reversed(memory.newest_first()):
                await response.write(_event(item))
            while True:
                try:
                    async with asyncio.timeout(_KEEP_ALIVE):
                        heard = await queue.get()
                except TimeoutError:
                    await response.write(b": still here\n\n")
                else:
                    await response.write(_event(heard))
    return response


def _event(item: Heard) -> bytes:
    return b"event: callback\ndata: " + json.dumps(item.as_json()).encode() + b"\n\n"


def sentence(heard: Heard) -> str:
    """Returns a callback in one line."""
    body = heard.body
    images = body.get("image_url") or []
    count = body.get("image_count", len(images))  # of a callback that was shortened
    status = heard.attributes.get("status") or ("succeeded" if body.get("result") else "failed or cancelled")
    code = heard.attributes.get("error_code")
    what = f"{status} ({code})" if code else status
    where = f" {images[0]}" if images else ""
    more = f" and {count - 1} more" if images and count > 1 else ""
    return f"callback: task {body.get('id', '?')} on {heard.attributes.get('runtime', '?')} {what}{where}{more}"

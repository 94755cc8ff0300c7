"""A web server that hands out pictures, honest and hostile ones: redirects, endless, slow, mute and lying answers."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from PIL import Image

from tests.support.serving import ThreadedServer

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CHUNK: Final = b"\0" * 65536


def picture(side: int = 64, colour: str = "teal", kind: str = "PNG") -> bytes:
    """Returns a square picture."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, kind)
    return buffer.getvalue()


@dataclass(frozen=True)
class WebServer:
    """A running server, and who asked it for what."""

    url: str
    asked: list[str] = field(default_factory=list)
    """The paths of all requests so far."""


@contextmanager
def web_server() -> Iterator[WebServer]:
    """Serves on 127.0.0.1.

    `/picture.png` is what it says. `/redirect?to=URL` leads there. The others misbehave: `/loop`, `/endless`,
    `/announced` (a huge Content-Length), `/slow` (one byte now and then), `/mute` (no answer), `/cut` (less than
    announced), `/bomb` (a little gzip that grows), `/text`, `/lying` (text that claims to be a PNG), `/empty`,
    `/status/CODE`.
    """
    asked: list[str] = []

    async def application() -> web.Application:
        @web.middleware
        async def note(request: web.Request, handler: _Handler) -> web.StreamResponse:
            asked.append(request.path)
            return await handler(request)

        made = web.Application(middlewares=[note])
        for path, handler in _ROUTES.items():
            made.router.add_get(path, handler)
        return made

    with ThreadedServer(application) as server:
        yield WebServer(server.url, asked)


async def _picture(request: web.Request) -> web.Response:
    return web.Response(body=picture(), content_type="image/png")


async def _redirect(request: web.Request) -> web.Response:
    return web.Response(status=int(request.query.get("status", "302")), headers={"Location": request.query["to"]})


async def _loop(request: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": "/loop"})


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png"})
    await response.prepare(request)
    await response.write(picture())
    while True:
        await response.write(_CHUNK)


async def _announced(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": str(10**12)})
    await response.prepare(request)
    await response.write(picture())
    await asyncio.Event().wait()
    return response


async def _slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png"})
    await response.prepare(request)
    for byte in picture(512) * 100:
        await response.write(bytes([byte]))
        await asyncio.sleep(0.5)
    return response


async def _mute(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "image/png", "Content-Length": "100000"})
    await response.prepare(request)
    await response.write(picture())
    if request.transport is not None:
        request.transport.close()
    return response


async def _bomb(request: web.Request) -> web.Response:
    body = gzip.compress(bytes(256 * 1024 * 1024), compresslevel=1)
    return web.Response(body=body, headers={"Content-Type": "image/png", "Content-Encoding": "gzip"})


async def _text(request: web.Request) -> web.Response:
    return web.Response(text="no picture at all " * 100)


async def _lying(request: web.Request) -> web.Response:
    return web.Response(body=b"<html><body>no picture</body></html>" * 100, content_type="image/png")


async def _empty(request: web.Request) -> web.Response:
    return web.Response(body=b"", content_type="image/png")


async def _status(request: web.Request) -> web.Response:
    return web.Response(status=int(request.match_info["code"]), text="as asked")


_ROUTES: Final[dict[str, _Handler]] = {
    "/picture.png": _picture,
    "/redirect": _redirect,
    "/loop": _loop,
    "/endless": _endless,
    "/announced": _announced,
    "/slow": _slow,
    "/mute": _mute,
    "/cut": _cut,
    "/bomb": _bomb,
    "/text": _text,
    "/lying": _lying,
    "/empty": _empty,
    r"/status/{code:\d+}": _status,
}

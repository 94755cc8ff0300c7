"""Serves input images, each one different, and takes its time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Final

from aiohttp import web

from tests.bench.scenarios import noise_png

_SIDE: Final = 400
"""Pixels; noise of this size is a PNG of 480 kB."""


def input_image(name: str) -> bytes:
    """Returns an image; each name gives another file."""
    # Bytes after the end of a PNG are no part of the picture.
    return _image() + name.encode()


@cache
def _image() -> bytes:
    return noise_png(_SIDE, seed=1)


@asynccontextmanager
async def serve_inputs(seconds: float) -> AsyncIterator[str]:
    """Yields the origin (`http://127.0.0.1:port`) below which every path is an image that takes some seconds."""
    await asyncio.to_thread(_image)

    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(seconds)
        return web.Response(body=input_image(request.path), content_type="image/png")

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()

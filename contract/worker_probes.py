"""Listens for the probes of the agent and the deliverer, and for Prometheus; each has answers of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from contract.processes import OursAlone

METRICS_TYPE: Final = "text/plain; version=0.0.4"
"""Content type of Prometheus' text format."""

type Handler = Callable[[web.Request], Awaitable[web.Response]]


class CannotListenError(Exception):
    """The address of the probes is in use or not ours; the text names it."""


@asynccontextmanager
async def listen(host: str, port: int, handlers: Mapping[str, Handler]) -> AsyncIterator[int]:
    """Serves while the context lasts, and says on which port.

    Args:
        host: the address.
        port: 0: a free one.
        handlers: what answers, by path.

    Raises:
        CannotListenError: the address is in use or not ours.
    """
    app = web.Application()
    app.add_routes([web.get(path, handler) for path, handler in handlers.items()])
    logging.getLogger("aiohttp.server").addFilter(OursAlone())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotListenError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()

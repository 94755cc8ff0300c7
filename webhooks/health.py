"""Serves /healthz, /readyz and /metrics."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from contract.processes import OursAlone
from contract.topology import RECEIVE_WAIT
from webhooks.consumer import Consumer
from webhooks.metrics import CONTENT_TYPE, Metrics
from webhooks.receivers import Receivers

_SILENCE: Final = RECEIVE_WAIT + 30.0
"""Seconds since the queue's last answer after which something is wrong: a poll without messages ends sooner."""

log = structlog.get_logger()


class CannotListenError(Exception):
    """The address of the probes is in use or not ours; the text names it."""


@asynccontextmanager
async def listen(
    host: str, port: int, *, consumer: Consumer, metrics: Metrics, receivers: Receivers
) -> AsyncIterator[None]:
    """Serves while the context lasts.

    Raises:
        CannotListenError: the address is in use or not ours.
    """
    began = time.monotonic()

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        heard = max(consumer.last_answer, began)
        ready = time.monotonic() - heard <= _SILENCE
        status = "ready" if ready else "the queue is out of reach"
        return web.json_response({"status": status, "in_flight": consumer.busy}, status=200 if ready else 503)

    async def render(_: web.Request) -> web.Response:
        metrics.following.set(consumer.busy)
        metrics.left_alone.set(receivers.left_alone(time.monotonic()))
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", render)])
    logging.getLogger("aiohttp.server").addFilter(OursAlone())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise CannotListenError(f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from error
        log.info("listening", host=host, port=runner.addresses[0][1])
        yield
    finally:
        await runner.cleanup()

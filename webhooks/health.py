"""Serves /healthz, /readyz and /metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from aiohttp import web

from contract import worker_probes
from contract.topology import RECEIVE_WAIT
from webhooks.consumer import Consumer
from webhooks.metrics import Metrics
from webhooks.receivers import Receivers

_SILENCE: Final = RECEIVE_WAIT + 30.0
"""Seconds since the queue's last answer after which something is wrong: a poll without messages ends sooner."""

log = structlog.get_logger()


@asynccontextmanager
async def listen(
    host: str, port: int, *, consumer: Consumer, metrics: Metrics, receivers: Receivers
) -> AsyncIterator[None]:
    """Serves while the context lasts.

    Raises:
        contract.worker_probes.CannotListenError: the address is in use or not ours.
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
        return web.Response(body=metrics.render(), headers={"Content-Type": worker_probes.METRICS_TYPE})

    async with worker_probes.listen(host, port, {"/healthz": healthz, "/readyz": readyz, "/metrics": render}) as bound:
        log.info("listening", host=host, port=bound)
        yield

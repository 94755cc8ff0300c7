"""Serves /healthz, /readyz and /metrics."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from aiohttp import web

from agent.holdings import Holdings, Stage
from agent.operations.lifecycle import Lifecycle, State
from agent.operations.metrics import Metrics
from agent.operations.recycling import Recycling
from agent.operations.warm_up import WarmUp, WarmUpState
from agent.pipeline import Pipeline
from contract.worker_probes import METRICS_TYPE, listen

log = structlog.get_logger()

_READY: Final = {State.READY, State.BUSY}


class HealthServer:
    """The probes of one agent.

    `/healthz` asks only whether the process should be restarted; `/readyz` whether it takes tasks, and tells its states
    and their times. `/runtimez` is for the liveness probe of the *runtime's* container: 503 asks for its restart.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        holdings: Holdings,
        metrics: Metrics,
        *,
        runtime: str,
        lifecycle: Lifecycle,
        warm_up: WarmUp,
        recycling: Recycling,
    ) -> None:
        self._pipeline = pipeline
        self._holdings = holdings
        self._metrics = metrics
        self._runtime = runtime
        self._lifecycle = lifecycle
        self._warm_up = warm_up
        self._recycling = recycling
        self._began = time.monotonic()

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves while the context lasts, and says on which port.

        Raises:
            contract.worker_probes.CannotListenError: the address is in use or not ours.
        """
        handlers = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/runtimez": self._runtimez,
            "/metrics": self._render_metrics,
        }
        async with listen(host, port, handlers) as bound:
            log.info("health_listening", host=host, port=bound)
            yield bound

    async def _healthz(self, request: web.Request) -> web.Response:
        heartbeat = self._pipeline.heartbeat
        # A beat waits for SQS at most as long as its calls may take; three periods beyond that, something is stuck.
        late = time.monotonic() - heartbeat.last_turn > 3 * heartbeat.period + 60
        return web.json_response({"status": "stuck" if late else "alive"}, status=503 if late else 200)

    async def _readyz(self, request: web.Request) -> web.Response:
        state = self._pipeline.state
        body: dict[str, Any] = {
            **self._lifecycle.describe(),
            "runtime": self._runtime,
            "held": len(self._holdings),
            "uptime": round(time.monotonic() - self._began, 1),
        }
        if self._pipeline.reason:
            body["reason"] = self._pipeline.reason
        if self._warm_up.state is not WarmUpState.NONE:
            body["warm_up"] = {"state": self._warm_up.state, "seconds": round(self._warm_up.seconds, 3)}
        if self._recycling.resident is not None:
            body["runtime_resident_bytes"] = self._recycling.resident
        return web.json_response(body, status=200 if state in _READY else 503)

    async def _runtimez(self, request: web.Request) -> web.Response:
        wanted = self._recycling.is_asked_by_probe
        body = {"restart": wanted, "reason": self._recycling.reason if wanted else ""}
        return web.json_response(body, status=503 if wanted else 200)

    async def _render_metrics(self, request: web.Request) -> web.Response:
        self._metrics.settle()
        for stage in Stage:
            self._metrics.held.labels(stage).set(self._holdings.count(stage))
        return web.Response(body=self._metrics.render(), headers={"Content-Type": METRICS_TYPE})

"""What happens to every request before and after its route, as plain ASGI: path, log, headers, key, throttle."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import ANONYMOUS, Caller
from api.callers import Callers
from api.errors import ApiError, UnavailableError
from api.metrics import Metrics
from api.submit import Fate
from api.telemetry import TRACE_HEADER
from api.throttle import Throttle
from api.tracing import Tracer

STATE: Final = "darkroom.request"
"""Where the scope holds the RequestState."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Routes whose success is not worth a line: they are asked every few seconds."""

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
)

_UNTRACED: Final = Tracer()

_log = structlog.get_logger("api.request")


@dataclass(slots=True)
class RequestState:
    """What is known about a request beside its bytes."""

    caller: Caller
    """Whose API key it carries."""
    trace: str
    """Its X-Ray trace header."""
    templates: Mapping[object, str]
    """The path of each route's function."""
    task_id: str | None = None
    tenant: str | None = None
    """Another one than the caller's own, whose task an admin looks at."""
    error_id: str | None = None
    """Of a fault of ours; the log has it too."""
    stream: bool = False


def request_state(scope: Scope) -> RequestState:
    """Returns the state that the middleware made for a request."""
    state: RequestState = scope[STATE]
    return state


class Paths:
    """Takes the gateway's prefix and a trailing slash off the path, so that no route needs a redirect."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http":
            path: str = scope["path"]
            if self._root and (path == self._root or path.startswith(f"{self._root}/")):
                path = path[len(self._root) :]
            scope = {**scope, "path": path.rstrip("/") or "/", "root_path": ""}
        await self._app(scope, receive, send)


class Observation:
    """Logs and counts each request, adds the headers that every answer has, and turns a fault of ours into a 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer, templates: Mapping[object, str]) -> None:
        self._app = app
        self._templates = templates
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *SECURITY_HEADERS]}
            await send(message)

        # The probes would be nearly all that there is to see.
        tracer = _UNTRACED if scope["path"] in _QUIET else self._tracer
        with tracer.request(scope["method"], header(scope, TRACE_HEADER)) as (trace, span):
            state = scope[STATE] = RequestState(caller=ANONYMOUS, trace=trace, templates=self._templates)
            try:
                await self._app(scope, receive, observed)
            except Exception as error:  # noqa: BLE001 - the last resort: whatever it is, it becomes a 500 and a line
                _log.error("fault", error_id=error_id(scope), route=route_of(scope), exc_info=error)
                if status == 0:
                    await internal_error(scope).answer()(scope, receive, observed)
            except asyncio.CancelledError:
                # uvicorn's, when a request has not ended within the grace period; it would log it as a fault of ours.
                if status == 0:
                    await _stopping(scope, state).answer()(scope, receive, observed)
            route = route_of(scope)
            if span:
                span.end(route, status)
        self._note(scope, state, route, status, time.perf_counter() - started)

    def _note(self, scope: Scope, state: RequestState, route: str, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests(route, method, status).inc()
        if not state.stream:
            self._metrics.seconds(route).observe(seconds)
        if route in _QUIET and status < 400:
            return
        line: dict[str, Any] = {"method": method, "route": route, "status": status, "ms": round(seconds * 1000, 1)}
        if state.caller.name:
            line["key"] = state.caller.name
        if state.task_id:
            line["task_id"] = state.task_id
        if state.tenant is not None:
            line["tenant"] = state.tenant
        line["trace"] = state.trace
        _log.info("request", **line)


class Gate:
    """Lets a request pass when its sender is known and has not used up its rate; nothing of its body is read before."""

    def __init__(self, app: ASGIApp, callers: Callers, throttle: Throttle, metrics: Metrics) -> None:
        self._app = app
        self._callers = callers
        self._throttle = throttle
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection."""
        if scope["type"] == "http" and not self._callers.asks_nobody(scope["path"]):
            try:
                self._admit(scope)
            except ApiError as error:
                await error.answer()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        caller = request_state(scope).caller = self._callers.caller(scope)
        wait = self._throttle.admit(caller.name)
        if wait > 0:
            self._metrics.throttled.inc()
            raise ApiError(
                429,
                "throttled",
                "too many requests with this API key; slow down",
                details={"retry_after_seconds": round(wait, 3)},
                headers={"retry-after": str(math.ceil(wait))},
            )


def header(scope: Scope, name: str) -> str | None:
    """Returns the first header of that name (lower case), or None."""
    wanted = name.encode()
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == wanted), None)


def route_of(scope: Scope) -> str:
    """Returns the template of the route that took the request, `unknown` when none did."""
    state: RequestState | None = scope.get(STATE)
    return state.templates.get(scope.get("endpoint"), "unknown") if state else "unknown"


def error_id(scope: Scope) -> str:
    """Returns the id under which the log has a request's fault; the same one however often it is asked."""
    state = request_state(scope)
    state.error_id = state.error_id or secrets.token_hex(6)
    return state.error_id


def _stopping(scope: Scope, state: RequestState) -> ApiError:
    """Returns the 503 for a request that the end of the server has cut off."""
    return UnavailableError(
        "this server is stopping, and had no time left for the request; send it again",
        code="stopping",
        details={"id": state.task_id, "fate": Fate.UNKNOWN} if scope["method"] == "POST" else None,
    )


def internal_error(scope: Scope) -> ApiError:
    """Returns the 500 for a fault of ours."""
    identifier = error_id(scope)
    return ApiError(
        500,
        "internal_error",
        f"something went wrong on our side; the log has it under {identifier}",
        details={"error_id": identifier},
    )

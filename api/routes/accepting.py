"""What every accepting route does: read the body, understand it, put the task on its way, count it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from starlette.requests import Request

from api.body import parse_json
from api.errors import InvalidRequestError
from api.middleware import request_state
from api.requests import TaskRequest
from api.routes.asking import TENANT
from api.services import services_of
from api.submit import Accepted
from contract.config import Config

_log = structlog.get_logger(__name__)

Dialect = Callable[[Any, Config], TaskRequest]

_THREAD_THRESHOLD: Final = 64 * 1024
"""Bytes above which a body is understood away from the event loop, where it would stop all others for over 10 ms."""


async def accept(
    request: Request, understand: Dialect, *, dialect: str, idempotency_key: str | None = None
) -> Accepted:
    """Puts the task of a request on its way.

    Args:
        request: its body has not been read.
        understand: what turns the body's document into a task.
        dialect: the name of that, for the metrics.
        idempotency_key: with it, the request happens once however often it is sent.

    Raises:
        ApiError: 400, 408, 409, 413, 415 or 503.
    """
    config = services_of(request).front.config

    def read(body: bytearray) -> tuple[Any, TaskRequest]:
        document = parse_json(body)
        body.clear()  # the document is a copy, and may need the memory
        return document, understand(document, config)

    async def understood(body: bytearray) -> tuple[Any, TaskRequest]:
        return await asyncio.to_thread(read, body) if len(body) > _THREAD_THRESHOLD else read(body)

    return await accept_read(request, understood, dialect=dialect, idempotency_key=idempotency_key)


async def accept_read(
    request: Request,
    understand: Callable[[bytearray], Awaitable[tuple[Any, TaskRequest]]],
    *,
    dialect: str,
    idempotency_key: str | None,
    anew: bool = False,
) -> Accepted:
    """Puts the task of a request on its way, however that is understood.

    Args:
        request: its body has not been read.
        understand: makes of the body what the request is recognised by when it comes again, and the task.
        dialect: the name of that, for the metrics.
        idempotency_key: with it, the request happens once however often it is sent.
        anew: a task is sent again that has ended; then there may be no body.

    Raises:
        ApiError: as `accept`.
    """
    services, state = services_of(request), request_state(request.scope)
    if request.scope["query_string"] and TENANT in request.query_params:
        raise InvalidRequestError(TENANT, "a task is always submitted for the API key's own tenant; leave it out")
    front = services.front
    if anew and not _has_body(request):
        body, room = bytearray(), None
    else:
        body, room = await front.intake.read(request, state.caller.name)
    try:
        document, task = await understand(body)
        state.task_id = task.task_id
        if task.webhook is not None:
            services.webhooks.check(task.webhook, state.caller.tenant)
        if task.environment is not None:
            await services.environments.check(task.runtime.name, task.environment)
        if idempotency_key is None:
            accepted = await services.acceptance.accept_once(task, state.caller.tenant, trace=state.trace, anew=anew)
        else:
            accepted = await services.idempotency.accept(
                state.caller, idempotency_key, task, document, trace=state.trace, anew=anew
            )
    finally:
        if room is not None:
            await room.aclose()
    state.task_id = accepted.ticket.task_id
    services.feeds.note(accepted.ticket.task)
    if task.unknown:
        _log.warning("unknown keys", task_id=state.task_id, dialect=dialect, keys=task.unknown)
    front.metrics.accepted(task.runtime.name, task.task_type, dialect).inc()
    return accepted


def _has_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers

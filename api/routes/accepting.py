"""What every accepting route does: read the body, understand it, put the task on its way, count it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from api.body import read_json
from api.errors import InvalidRequestError
from api.middleware import request_state
from api.requests import TaskRequest
from api.routes.asking import TENANT
from api.services import services_of
from api.submit import Accepted
from contract.config import Config

Dialect = Callable[[Any, Config], TaskRequest]


async def document_of(request: Request) -> Any:
    """Returns the request's JSON document.

    Raises:
        ApiError: 400, 413 or 415.
    """
    return await read_json(request, services_of(request).front.settings.max_body_bytes)


async def accept(
    request: Request, document: Any, understand: Dialect, *, dialect: str, idempotency_key: str | None = None
) -> Accepted:
    """Puts the task of a request on its way.

    Args:
        request: whose key and trace count.
        document: the request's JSON document.
        understand: what turns the document into a task.
        dialect: the name of that, for the metrics.
        idempotency_key: with it, the request happens once however often it is sent.

    Raises:
        ApiError: 400, 409 or 503.
    """
    services, state = services_of(request), request_state(request.scope)
    if TENANT in request.query_params:
        raise InvalidRequestError(TENANT, "a task is always submitted for the API key's own tenant; leave it out")
    task = understand(document, services.front.config)
    state.task_id = task.task_id
    if idempotency_key is None:
        accepted = await services.acceptance.accept_once(task, state.caller.tenant, trace=state.trace)
    else:
        accepted = await services.idempotency.accept(state.caller, idempotency_key, task, document, trace=state.trace)
    state.task_id = accepted.ticket.task_id
    services.front.metrics.accepted(task.runtime.name, task.task_type, dialect).inc()
    return accepted

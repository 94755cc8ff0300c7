"""Webhooks: the deliveries of a task, and the secrets that sign them."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.errors import InvalidRequestError
from api.middleware import request_state
from api.routes.asking import TENANT, refuse_foreign_page, task_of
from api.services import services_of

SUBMISSION: Final = "submission"
"""The query parameter by which an earlier submission is meant."""


async def deliveries(request: Request) -> Response:
    """Tells what was delivered to a task's webhook, and how each attempt went."""
    services = services_of(request)
    record = await services.tasks.read(task_of(request, request.path_params["task_id"]))
    found = await services.webhooks.deliveries(record, request.query_params.get(SUBMISSION))
    return json_answer(found, headers={"cache-control": "no-store"})


async def redeliver(request: Request) -> Response:
    """Has a delivery made once more."""
    refuse_foreign_page(request)
    services = services_of(request)
    record = await services.tasks.read(task_of(request, request.path_params["task_id"]))
    found = await services.webhooks.redeliver(
        record, request.query_params.get(SUBMISSION), request.path_params["number"]
    )
    return json_answer(found, status=202)


async def webhook_secrets(request: Request) -> Response:
    """Tells a caller the secrets by which its webhooks are signed."""
    if TENANT in request.query_params:
        raise InvalidRequestError(TENANT, "secrets are always the API key's own tenant's; leave it out")
    secrets = services_of(request).webhooks.secrets.of(request_state(request.scope).caller.tenant)
    return json_answer({"secrets": secrets}, headers={"cache-control": "no-store"})


ROUTES = (
    Route("/v1/tasks/{task_id}/deliveries", deliveries, methods=["GET"]),
    Route("/v1/tasks/{task_id}/deliveries/{number}/redeliver", redeliver, methods=["POST"]),
    Route("/v1/webhook-secrets", webhook_secrets, methods=["GET"]),
)

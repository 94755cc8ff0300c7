"""What tasks have cost: `/v1/usage`."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.middleware import request_state
from api.routes.asking import TENANT, checked_tenant_of
from api.services import services_of
from api.usage import parse_usage_query


async def usage(request: Request) -> Response:
    """Sums up the caller's own tenant; for an admin who names none, all of them."""
    everybody = request_state(request.scope).caller.admin and TENANT not in request.query_params
    tenant = None if everybody else checked_tenant_of(request)
    query = parse_usage_query(request.query_params, datetime.now(UTC))
    answer = await services_of(request).usage.sum_up(tenant, query)
    return json_answer(answer, headers={"cache-control": "no-store"})


ROUTES = (Route("/v1/usage", usage, methods=["GET"]),)

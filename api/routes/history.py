"""What there was: the list of all tasks, and the earlier submissions of one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.lists import parse_query
from api.middleware import request_state
from api.routes.asking import checked_tenant_of, task_of
from api.services import services_of

_NO_STORE = {"cache-control": "no-store"}


async def list_tasks(request: Request) -> Response:
    """Lists the tasks of the caller's tenant, the newest first."""
    tenant = checked_tenant_of(request)
    query = parse_query(request.query_params)
    services = services_of(request)
    page = await services.lists.page(tenant, query)
    other = request_state(request.scope).tenant
    tasks = [await services.tasks.listed(record, tenant=other) for record in page.records]
    return json_answer({"tasks": tasks, "next": page.cursor.encode() if page.cursor else None}, headers=_NO_STORE)


async def submissions(request: Request) -> Response:
    """Shows how the submissions of one task stand, the newest first."""
    tasks = services_of(request).tasks
    record = await tasks.read(task_of(request, request.path_params["task_id"]))
    views = await tasks.submissions(record, tenant=request_state(request.scope).tenant)
    return json_answer({"submissions": views}, headers=_NO_STORE)


ROUTES = (
    Route("/v1/tasks", list_tasks, methods=["GET"]),
    Route("/v1/tasks/{task_id}/submissions", submissions, methods=["GET"]),
)

"""`POST /task` and `GET /task?taskId=`, as the older of the reference documents has them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.errors import InvalidRequestError
from api.requests import from_task
from api.routes.accepting import accept
from api.routes.asking import task_of
from api.services import services_of
from api.unknown_keys import warning_headers


async def submit(request: Request) -> Response:
    """Accepts one of the runtimes' own requests."""
    accepted = await accept(request, from_task, dialect="task")
    return json_answer({"taskId": accepted.ticket.task_id}, headers=warning_headers(accepted.request.unknown))


async def query(request: Request) -> Response:
    """Tells how a task stands."""
    task_id = request.query_params.get("taskId", "")
    if not task_id:
        raise InvalidRequestError("taskId", "is required: GET /task?taskId=…")
    tasks = services_of(request).tasks
    return json_answer(await tasks.task_view(await tasks.read(task_of(request, task_id))))


ROUTES = (
    Route("/task", submit, methods=["POST"]),
    Route("/task", query, methods=["GET"]),
)

"""The tasks as a resource, and the runtimes: `/v1/tasks`, `/v1/runtimes`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.idempotency import check_key
from api.links import task_links
from api.middleware import request_state
from api.requests import from_v1
from api.routes.accepting import accept
from api.routes.asking import task_of
from api.services import services_of
from api.submit import Accepted
from api.waiting import WAIT, parse_wait, wait_for_end
from contract.identifiers import TaskRef
from contract.record import Record


async def submit(request: Request) -> Response:
    """Accepts a task, and waits for it where that is wanted; the same Idempotency-Key makes it happen once."""
    key = request.headers.get("idempotency-key")
    if key is not None:
        check_key(key)
    wait = parse_wait(request.query_params.get(WAIT)) if request.scope["query_string"] else 0.0
    return await accepted_answer(request, await accept(request, from_v1, dialect="v1", idempotency_key=key), wait)


async def accepted_answer(request: Request, accepted: Accepted, wait: float) -> Response:
    """Returns the answer for a task that is on its way: 200 when it ends within the seconds, otherwise 202."""
    links = task_links(services_of(request).front.settings.root_path, accepted.ticket.task_id)
    here = links["self"]
    if wait and (ended := await _ended_within(request, accepted, wait)):
        view = await services_of(request).tasks.view(ended)
        return json_answer(view, headers={"location": here, "cache-control": "no-store"})
    return json_answer(
        {
            "id": accepted.ticket.task_id,
            "status": "queued",
            "runtime": accepted.request.runtime.name,
            "tasktype": accepted.request.task_type,
            "submission": accepted.ticket.submission,
            "submitted_at": accepted.ticket.submitted_at,
            "output_location": accepted.output_location,
            "links": links,
        },
        status=202,
        headers={"location": here},
    )


async def _ended_within(request: Request, accepted: Accepted, seconds: float) -> Record | None:
    """Returns the record of a task that ends in time; nobody waits where too many do already."""
    services, state = services_of(request), request_state(request.scope)
    front = services.front
    if not front.streams.has_room(state.caller.name):
        return None
    state.stream = True  # its time is the task's, not ours
    with front.streams.one(state.caller.name):
        return await wait_for_end(
            services.tasks,
            accepted.ticket,
            min(seconds, front.settings.max_wait_seconds),
            stopping=front.stopping,
            gone=request.is_disconnected,
        )


async def show(request: Request) -> Response:
    """Tells how a task stands, with links to its images."""
    tasks = services_of(request).tasks
    record = await tasks.read(_task(request))
    view = await tasks.view(record, tenant=request_state(request.scope).tenant)
    return json_answer(view, headers={"cache-control": "no-store"})


async def cancel(request: Request) -> Response:
    """Cancels a task: 200 when it will not run, 202 when its agent was asked to stop it."""
    tasks = services_of(request).tasks
    cancelled = await tasks.cancel(_task(request))
    services_of(request).feeds.note(cancelled.record.ref)
    view = await tasks.view(cancelled.record, tenant=request_state(request.scope).tenant)
    return json_answer(view, status=200 if cancelled.at_once else 202)


async def runtimes(request: Request) -> Response:
    """Lists the runtimes with the depth of their queues."""
    return json_answer({"runtimes": await services_of(request).runtimes.describe()})


def _task(request: Request) -> TaskRef:
    return task_of(request, request.path_params["task_id"])


ROUTES = (
    Route("/v1/tasks", submit, methods=["POST"]),
    Route("/v1/tasks/{task_id}", show, methods=["GET"]),
    Route("/v1/tasks/{task_id}", cancel, methods=["DELETE"]),
    Route("/v1/runtimes", runtimes, methods=["GET"]),
)

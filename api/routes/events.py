"""Server-sent events: those of one task, and those of all of a tenant's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from api.errors import UnavailableError
from api.events import has_seen_the_end, task_events
from api.middleware import request_state
from api.routes.asking import checked_tenant_of, task_of
from api.services import services_of

EVENT_STREAM: Final = "text/event-stream"


async def events(request: Request) -> Response:
    """Tells each change of a task until it has ended."""
    services = services_of(request)
    record = await services.tasks.read(task_of(request, request.path_params["task_id"]))
    last_event_id = request.headers.get("last-event-id", "")
    if has_seen_the_end(record, last_event_id):
        return Response(status_code=204)
    if request.method == "HEAD":
        return Response(media_type=EVENT_STREAM)
    return stream_answer(request, task_events(services.tasks, record, last_event_id, services.front.stopping))


async def all_events(request: Request) -> Response:
    """Tells each change of each of a tenant's tasks, for as long as the client likes."""
    services, tenant = services_of(request), checked_tenant_of(request)
    if request.method == "HEAD":
        return Response(media_type=EVENT_STREAM)
    last_event_id = request.headers.get("last-event-id", "")
    return stream_answer(request, services.feeds.events(tenant, last_event_id, services.front.stopping))


def stream_answer(request: Request, coming: AsyncIterator[bytes]) -> Response:
    """Answers with events as they come.

    Raises:
        UnavailableError: too many do so already.
    """
    front, state = services_of(request).front, request_state(request.scope)
    if not front.streams.has_room(state.caller.name):
        raise UnavailableError(
            "too many event streams are open; ask GET /v1/tasks/{id} instead", code="too_many_streams"
        )
    state.stream = True

    async def stream() -> AsyncIterator[bytes]:
        with front.streams.one(state.caller.name):
            async for event in coming:
                yield event

    return StreamingResponse(
        stream(),
        media_type=EVENT_STREAM,
        # X-Accel-Buffering: nginx would hold the events back until its buffer is full.
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


ROUTES = (
    Route("/v1/tasks/{task_id}/events", events, methods=["GET"]),
    Route("/v1/events", all_events, methods=["GET"]),
)

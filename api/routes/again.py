"""What a task asked for, and to have that done once more."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.body import parse_json
from api.errors import ApiError
from api.idempotency import check_key
from api.kept import Retry, document_of, parse_retry, shown_metadata
from api.requests import TaskRequest, from_v1
from api.routes.accepting import accept_read
from api.routes.asking import refuse_foreign_page, task_of
from api.routes.v1 import accepted_answer
from api.services import services_of
from api.submit import not_ended
from api.waiting import WAIT, parse_wait


async def kept_request(request: Request) -> Response:
    """Shows what a task's newest submission asked for, without its secrets."""
    services = services_of(request)
    record = await services.tasks.read(task_of(request, request.path_params["task_id"]))
    kept = await services.kept_requests.of(record)
    shown = {"metadata": shown_metadata(record, kept), "content": kept.content, "left_out": kept.left_out}
    return json_answer(shown, headers={"cache-control": "no-store"})


async def retry(request: Request) -> Response:
    """Sends a task again that has ended, as it was or changed."""
    refuse_foreign_page(request)
    key = request.headers.get("idempotency-key")
    if key is not None:
        check_key(key)
    wait = parse_wait(request.query_params.get(WAIT))
    understand = partial(_again, request, keyed=key is not None)
    accepted = await accept_read(request, understand, dialect="retry", idempotency_key=key, anew=True)
    return await accepted_answer(request, accepted, wait)


async def _again(request: Request, body: bytearray, *, keyed: bool) -> tuple[Any, TaskRequest]:
    """Returns what a retry is recognised by when it comes again, and the task."""
    services, task_id = services_of(request), request.path_params["task_id"]
    wanted = parse_retry(await asyncio.to_thread(parse_json, body), task_id) if body else Retry()
    record = await services.tasks.read(task_of(request, task_id))
    if not record.current.status.terminal and not keyed:
        raise not_ended(record.current, task_id)
    try:
        kept = await services.kept_requests.of(record) if wanted.content is None else None
    except ApiError as error:
        # The same key may have come before: then it is its own retry that runs.
        raise error if record.current.status.terminal else not_ended(record.current, task_id) from error
    task = await asyncio.to_thread(from_v1, document_of(record, wanted, kept), services.front.config)
    return {"retry": task_id, "metadata": wanted.metadata, "content": wanted.content}, task


ROUTES = (
    Route("/v1/tasks/{task_id}/request", kept_request, methods=["GET"]),
    Route("/v1/tasks/{task_id}/retry", retry, methods=["POST"]),
)

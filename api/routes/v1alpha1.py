"""`POST /v1alpha1`, as the reference documents it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.requests import from_v1alpha1
from api.routes.accepting import accept
from api.unknown_keys import warning_headers


async def submit(request: Request) -> Response:
    """Accepts a task for the runtime that holds the checkpoint."""
    accepted = await accept(request, from_v1alpha1, dialect="v1alpha1")
    return json_answer(
        {
            "id_task": accepted.ticket.task_id,
            "sd_model_checkpoint": accepted.request.checkpoint,
            "output_location": accepted.output_location,
        },
        headers=warning_headers(accepted.request.unknown),
    )


ROUTES = (Route("/v1alpha1", submit, methods=["POST"]),)

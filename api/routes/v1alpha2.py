"""`POST /v1alpha2`, as the reference documents it."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.answers import json_answer
from api.requests import from_v1alpha2
from api.routes.accepting import accept, document_of

router = APIRouter()


@router.post("/v1alpha2")
async def submit(request: Request) -> Response:
    """Accepts a task for a runtime that is named."""
    document = await document_of(request)
    accepted = await accept(request, document, from_v1alpha2, dialect="v1alpha2")
    return json_answer(
        {
            "id_task": accepted.ticket.task_id,
            "runtime": accepted.request.runtime.name,
            "output_location": accepted.output_location,
        }
    )

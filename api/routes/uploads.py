"""Input files: whole through the API (`/v1/inputs`), or in parts by links (`/v1/inputs/uploads`)."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.auth import Caller
from api.body import parse_json
from api.errors import InvalidRequestError
from api.middleware import request_state
from api.part_uploads import WantedUpload
from api.requests import validated
from api.routes.asking import TENANT
from api.services import services_of

_NO_STORE: Final = {"cache-control": "no-store"}


async def upload(request: Request) -> Response:
    """Stores a file that tasks can name as their input."""
    stored = await services_of(request).uploads.store(request, _caller(request), name=request.query_params.get("name"))
    return json_answer(stored, status=201, headers=_NO_STORE)


async def begin(request: Request) -> Response:
    """Begins an upload in parts."""
    caller = _caller(request)
    body, room = await services_of(request).front.intake.read(request, caller.name)
    try:
        wanted = validated(WantedUpload, parse_json(body))
    finally:
        if room is not None:
            await room.aclose()
    return json_answer(await services_of(request).part_uploads.begin(caller, wanted), status=201, headers=_NO_STORE)


async def part(request: Request) -> Response:
    """Returns a link that takes one part."""
    named = request.path_params
    found = await services_of(request).part_uploads.part(_caller(request), named["upload"], named["number"])
    return json_answer(found, headers=_NO_STORE)


async def complete(request: Request) -> Response:
    """Puts the parts together."""
    stored = await services_of(request).part_uploads.complete(_caller(request), request.path_params["upload"])
    return json_answer(stored, headers=_NO_STORE)


async def give_up(request: Request) -> Response:
    """Forgets an upload."""
    await services_of(request).part_uploads.give_up(_caller(request), request.path_params["upload"])
    return Response(status_code=204)


def _caller(request: Request) -> Caller:
    if TENANT in request.query_params:
        raise InvalidRequestError(TENANT, "a file is always the API key's own tenant's; leave it out")
    return request_state(request.scope).caller


ROUTES = (
    Route("/v1/inputs", upload, methods=["POST"]),
    Route("/v1/inputs/uploads", begin, methods=["POST"]),
    Route("/v1/inputs/uploads/{upload}", give_up, methods=["DELETE"]),
    Route("/v1/inputs/uploads/{upload}/parts/{number}", part, methods=["GET"]),
    Route("/v1/inputs/uploads/{upload}/complete", complete, methods=["POST"]),
)

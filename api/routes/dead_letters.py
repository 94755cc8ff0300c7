"""The dead letters: `/v1/dead-letters`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.body import parse_json
from api.dead_letters import MOST, Outcome
from api.errors import InvalidRequestError
from api.middleware import request_state
from api.requests import validated
from api.services import services_of

_NO_STORE: Final = {"cache-control": "no-store"}


class ChosenLetters(BaseModel):
    """Which dead letters are meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: Annotated[str, Field(description="Whose dead-letter queue.", min_length=1)]
    message_ids: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100)]],
        Field(description="As `GET /v1/dead-letters` names them.", min_length=1, max_length=MOST),
    ]


async def show(request: Request) -> Response:
    """Lists the caller's dead letters with the reason why each is there."""
    for name in request.query_params:
        if name != "runtime":
            raise InvalidRequestError(name[:80], "unknown parameter; there is runtime")
    runtime = request.query_params.get("runtime") or None
    caller = request_state(request.scope).caller
    return json_answer(await services_of(request).dead_letters.show(caller, runtime), headers=_NO_STORE)


async def redrive(request: Request) -> Response:
    """Sends dead letters back to their queue."""
    services, chosen = services_of(request), await _chosen(request)
    caller = request_state(request.scope).caller
    outcome = await services.dead_letters.redrive(caller, chosen.runtime, chosen.message_ids)
    for task in outcome.tasks:
        services.feeds.note(task)
    return _told(outcome, "sent_back")


async def delete(request: Request) -> Response:
    """Deletes dead letters."""
    chosen = await _chosen(request)
    caller = request_state(request.scope).caller
    return _told(await services_of(request).dead_letters.delete(caller, chosen.runtime, chosen.message_ids), "deleted")


async def _chosen(request: Request) -> ChosenLetters:
    caller = request_state(request.scope).caller
    body, room = await services_of(request).front.intake.read(request, caller.name)
    try:
        return validated(ChosenLetters, parse_json(body))
    finally:
        if room is not None:
            await room.aclose()


def _told(outcome: Outcome, done: str) -> Response:
    body = {done: outcome.done, "stayed": outcome.stayed, "not_found": outcome.not_found}
    return json_answer(body, headers=_NO_STORE)


ROUTES = (
    Route("/v1/dead-letters", show, methods=["GET"]),
    Route("/v1/dead-letters", delete, methods=["DELETE"]),
    Route("/v1/dead-letters/redrive", redrive, methods=["POST"]),
)

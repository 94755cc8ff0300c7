"""The agents of a runtime: `GET /v1/runtimes/{runtime}/agents`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.errors import ApiError
from api.middleware import request_state
from api.services import services_of


async def show(request: Request) -> Response:
    """Lists the agents of a runtime, as they told of themselves last."""
    services, name = services_of(request), request.path_params["runtime"]
    front = services.front
    if front.config.runtime(name) is None:
        there = [runtime.name for runtime in front.config.runtimes]
        raise ApiError(
            404,
            "unknown_runtime",
            f"there is no runtime {name[:80]!r}; there is {', '.join(there)}",
            details={"runtimes": there},
        )
    caller = request_state(request.scope).caller
    told = await services.agents.describe(name, caller, sees_all=front.callers.open or caller.admin)
    return json_answer(told, headers={"cache-control": "no-store"})


ROUTES = (Route("/v1/runtimes/{runtime}/agents", show, methods=["GET"]),)

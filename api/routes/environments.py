"""What a runtime's server is made of: `GET /v1/runtimes/{name}/environment`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.errors import ApiError
from api.services import services_of


async def show(request: Request) -> Response:
    """Shows an environment: the newest, or the one with the hash; what differs from another one, if that is asked."""
    services, name = services_of(request), request.path_params["runtime"]
    config = services.front.config
    if config.runtime(name) is None:
        names = [runtime.name for runtime in config.runtimes]
        raise ApiError(
            404,
            "unknown_runtime",
            f"there is no runtime {name[:80]!r}; known are {', '.join(names)}",
            details={"runtimes": names},
        )
    answer = await services.environments.show(
        name, request.path_params.get("hash"), request.query_params.get("against")
    )
    return json_answer(answer, headers={"cache-control": "no-store"})


ROUTES = (
    Route("/v1/runtimes/{runtime}/environment", show, methods=["GET"]),
    Route("/v1/runtimes/{runtime}/environment/{hash}", show, methods=["GET"]),
)

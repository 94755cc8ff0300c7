"""A workflow in any form becomes the content of a task: `POST /v1/runtimes/{name}/workflow`."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.answers import json_answer
from api.errors import ApiError
from api.middleware import request_state
from api.services import services_of
from api.workflows.containers import MOST_TEXT, is_text
from api.workflows.errors import WorkflowError
from api.workflows.understanding import UnknownNodesError, understand
from contract.config import RuntimeConfig
from contract.task import RuntimeType


async def convert(request: Request) -> Response:
    """Converts the workflow in the body; says what can be set in it, and what the runtime will refuse."""
    services = services_of(request)
    runtime = _runtime(request)
    caller = request_state(request.scope).caller
    async with services.front.intake.file(request, caller.name, _weight) as body:
        catalogue = await services.catalogues.get(runtime.name)
        try:
            answer = await asyncio.to_thread(understand, bytes(body), catalogue)
        except UnknownNodesError as error:
            raise ApiError(409, "nodes_unknown", str(error), details={"runtime": runtime.name}) from error
        except WorkflowError as error:
            raise ApiError(400, "invalid_workflow", str(error)) from error
        return json_answer(answer, headers={"cache-control": "no-store"})


def _weight(body: bytearray) -> int:
    """Returns how many bytes of JSON a file may hold: a compressed text in a picture is not longer than `MOST_TEXT`."""
    return len(body) if is_text(body) else MOST_TEXT


def _runtime(request: Request) -> RuntimeConfig:
    config, name = services_of(request).front.config, request.path_params["runtime"]
    runtime = config.runtime(name)
    kind = RuntimeType.COMFYUI
    takers = [item.name for item in config.runtimes if item.type == kind]
    there = f"workflows go to {', '.join(takers)}" if takers else "no runtime here takes workflows"
    if runtime is None:
        raise ApiError(
            404, "unknown_runtime", f"there is no runtime {name[:80]!r}; {there}", details={"runtimes": takers}
        )
    if runtime.type != kind:
        raise ApiError(
            409,
            "wrong_runtime",
            f"{runtime.name} is of type {runtime.type}, which runs no ComfyUI workflow; {there}",
            details={"runtimes": takers},
        )
    return runtime


ROUTES = (Route("/v1/runtimes/{runtime}/workflow", convert, methods=["POST"]),)

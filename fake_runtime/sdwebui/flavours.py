"""Other servers that speak SD Web UI's API: in what they differ from the original, put over its answers."""

import json
from collections.abc import Awaitable, Callable
from pathlib import PurePosixPath
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fake_runtime.encoding import json_response
from fake_runtime.sdwebui.errors import FaultAnswerError, RequestValidationError, WebUiError, not_found

_API = "/sdapi/v1/"
_GENERATING = frozenset({"txt2img", "img2img"})
_SILENT = frozenset({"interrupt", "skip", "unload-checkpoint", "reload-checkpoint"})
_OF_SD_SERVER = frozenset(
    {*_GENERATING, "sd-models", "samplers", "schedulers", "loras", "upscalers", "latent-upscale-modes"}
)

type _Respond = Callable[[str, web.Request, Handler], Awaitable[web.StreamResponse]]


def flavours(name: str) -> list[Middleware]:
    """The middleware of a flavour; none for the original."""
    respond = {"sdnext": _as_sdnext, "sd-server": _as_sd_server}.get(name)
    return [] if respond is None else [_over(respond)]


def _over(respond: _Respond) -> Middleware:
    @web.middleware
    async def over(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_API):
            return await handler(request)
        return await respond(request.path.removeprefix(_API), request, handler)

    return over


async def _as_sdnext(route: str, request: web.Request, handler: Handler) -> web.StreamResponse:
    """SD.Next, master of 2026-07-23 (seen live): 204s, failed runs with 200, no `sd_model_name`, its own restart."""
    if route in {"restart", "shutdown"} and request.method == "POST":
        return web.Response(status=204)
    if route in {"server-restart", "server-kill", "server-stop"}:
        return not_found()
    if route == "extra-single-image":
        raise WebUiError(500, error="ResponseValidationError", errors="response: html_info: none is not allowed")
    try:
        answer = await handler(request)
    except Exception as error:
        if route not in _GENERATING or isinstance(error, FaultAnswerError | RequestValidationError):
            raise
        if isinstance(error, WebUiError) and error.status != 500:
            raise
        words = error.errors or error.detail if isinstance(error, WebUiError) else str(error)
        return json_response({"images": [], "parameters": {}, "info": words})
    if answer.status == 200 and (route in _SILENT or route.startswith("refresh-")):
        return web.Response(status=204)
    return _with_info(answer, lambda info: info.pop("sd_model_name", None)) if route in _GENERATING else answer


async def _as_sd_server(route: str, request: web.Request, handler: Handler) -> web.StreamResponse:
    """sd-server of stable-diffusion.cpp 97d2990: a few routes, one model, names with their endings, no way to stop."""
    if route == "options" and request.method == "GET":
        options = json.loads(_body(await handler(request)))
        name = PurePosixPath(options["sd_model_checkpoint"].partition(" [")[0]).stem
        return json_response({"samples_format": "png", "sd_model_checkpoint": name})
    if route not in _OF_SD_SERVER:
        return web.Response(status=404)
    answer = await handler(request)
    if route == "sd-models":
        models = json.loads(_body(answer))[:1]
        # It computes no digests, and tells one and the same for every model.
        told = {"hash": "8" * 10, "sha256": "8" * 64}
        return json_response(
            [{**model, **told, "title": model["model_name"], "filename": _file(model)} for model in models]
        )
    if route not in _GENERATING:
        return answer

    def name_the_file(info: dict[str, Any]) -> None:
        info["sd_model_name"] = f"{info['sd_model_name']}.safetensors"
        info["version"] = "stable-diffusion.cpp"

    return _with_info(answer, name_the_file)


def _file(model: dict[str, Any]) -> str:
    return PurePosixPath(model["filename"]).name


def _body(answer: web.StreamResponse) -> bytes:
    return answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"{}"


def _with_info(answer: web.StreamResponse, change: Callable[[dict[str, Any]], object]) -> web.StreamResponse:
    """The answer with its `info`, which is JSON in a string, changed."""
    if answer.status != 200 or answer.content_type != "application/json":
        return answer
    body = json.loads(_body(answer))
    info = json.loads(body["info"])
    change(info)
    return json_response({**body, "info": json.dumps(info)})

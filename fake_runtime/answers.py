"""Disturbs answers as ordered faults say, alike for all types of server."""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from fake_runtime.encoding import json_response
from fake_runtime.faults import FaultError, FaultName, Struck

_LATE_SECONDS = 5.0


async def disturb(struck: Struck) -> web.Response | None:
    """Waits while an answer is to be late; returns the garbage that comes in its place, if so ordered."""
    if (slow := struck.get(FaultName.SLOW_RESPONSE)) is not None:
        await asyncio.sleep(_LATE_SECONDS if slow.seconds is None else slow.seconds)
    if FaultName.GARBAGE in struck:
        return web.Response(text="<html><body>Bad gateway</body></html>", content_type="text/html")
    return None


def refuse_unknown_faults(runtime_type: str) -> Middleware:
    """Answers 400, in the shape of the server that is played, to a prompt that orders a fault that there is not."""

    @web.middleware
    async def refuse(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except FaultError as error:
            return json_response(_refusal(runtime_type, str(error)), 400)

    return refuse


def _refusal(runtime_type: str, text: str) -> object:
    if runtime_type == "comfyui":
        error = {"type": "unknown_fault", "message": text, "details": text, "extra_info": {}}
        return {"error": error, "node_errors": {}}
    if runtime_type == "openai":
        return {"error": {"message": text, "type": "BadRequestError", "param": None, "code": 400}}
    if runtime_type == "invokeai":
        return {"detail": text}
    return {"error": "FaultError", "detail": "", "body": "", "errors": text}

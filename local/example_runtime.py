"""A runtime of one's own, by the contract of `type: http` (docs/conformance.md): a model goes to `_draw`."""

import argparse
import asyncio
import base64
import json
import struct
import zlib
from typing import Any

from aiohttp import web


async def _draw(turn: asyncio.Lock, run: dict[str, Any], content: dict[str, Any]) -> bytes:
    async with turn:  # One task at a time; the others wait.
        for step in range(steps := int(content.get("steps", 20))):
            await asyncio.sleep(0.05)
            run["progress"] = (step + 1) / steps
    header = struct.pack("<2sIIIIiiHH24x", b"BM", 54 + 64 * 64 * 3, 0, 54, 40, 64, 64, 1, 24)
    return header + zlib.crc32(content["prompt"].encode()).to_bytes(4)[:3] * 64 * 64  # A square, as a bitmap.


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message}}, status=status)


def make_app() -> web.Application:
    """Returns the server: one POST per task, its progress, its cancellation, and health."""
    routes, turn, runs = web.RouteTableDef(), asyncio.Lock(), dict[str, dict[str, Any]]()

    @routes.post("/runs/{id}")
    async def run(request: web.Request) -> web.Response:
        name = request.match_info["id"]
        try:
            content = json.loads(await request.read())["content"]
            content["prompt"].encode()
        except (ValueError, LookupError, TypeError, AttributeError):
            return _error(400, "invalid_content", "content.prompt: is missing, or the body is no such JSON")
        if name in runs:
            return _error(409, "already_running", "a run of this id is here")
        runs[name] = {"progress": 0.0}
        runs[name]["work"] = work = asyncio.create_task(_draw(turn, runs[name], content))
        try:
            return web.json_response({"outputs": [{"data": base64.b64encode(await work).decode(), "name": "a.bmp"}]})
        except asyncio.CancelledError:
            return _error(409, "cancelled", "the run was cancelled")
        finally:
            del runs[name]

    @routes.get("/runs")
    async def listing(_: web.Request) -> web.Response:
        return web.json_response({"runs": list(runs)})

    @routes.get("/runs/{id}")
    async def progress(request: web.Request) -> web.Response:
        found = runs.get(request.match_info["id"])
        return (
            web.json_response({"progress": found["progress"]}) if found else _error(404, "unknown_run", "no such run")
        )

    @routes.delete("/runs/{id}")
    async def cancel(request: web.Request) -> web.Response:
        found = runs.get(request.match_info["id"])
        return (
            web.Response(status=204) if found and found["work"].cancel() else _error(404, "unknown_run", "no such run")
        )

    @routes.get("/health")
    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ready"})

    @routes.get("/environment")
    async def environment(_: web.Request) -> web.Response:
        return web.json_response({"server": "example", "version": "1", "models": [{"name": "square", "size": 0}]})

    app = web.Application(client_max_size=2**28)
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    web.run_app(make_app(), host=given.host, port=given.port, shutdown_timeout=0.1, print=None)  # 0 would wait.

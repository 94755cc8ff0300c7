"""A runtime of `type: http` that suffers faults to order, on the GPU of the fake runtimes.

A stand-in for trials: `local/example_runtime.py` is what a runtime of one's own is like.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import zlib
from typing import Final

from aiohttp import web

from fake_runtime.__main__ import configure_logging
from fake_runtime.admin import add_routes
from fake_runtime.answers import disturb
from fake_runtime.encoding import json_response
from fake_runtime.faults import Fault, FaultBook, FaultName
from fake_runtime.gpu.device import Gpu, Job
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.memory import GIB, OutOfMemoryError

_STEPS: Final = 4


def _refuse(status: int, code: str, message: str) -> web.Response:
    return json_response({"error": {"code": code, "message": message}}, status)


def _picture(prompt: str, number: int) -> str:
    """Returns a small file that follows from the prompt and the number, in base64."""
    return base64.b64encode(b"BM" + zlib.crc32(f"{prompt}/{number}".encode()).to_bytes(4) * 32).decode()


class _OrderedError(Exception):
    """An error that a fault orders."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault


class HttpRuntime:
    """One server: its runs one after another.

    Args:
        gpu: runs them, and writes them down.
        faults: on order.
    """

    def __init__(self, gpu: Gpu, faults: FaultBook) -> None:
        self._gpu = gpu
        self._faults = faults
        self._stopped: dict[str, bool] = {}
        """Runs that wait or run, and whether somebody has stopped them."""
        self._running: tuple[str, Job] | None = None

    def application(self) -> web.Application:
        """Returns the routes of the contract in docs/conformance.md."""
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/runs/{id}", self._run)
        app.router.add_get("/runs/{id}", self._progress)
        app.router.add_delete("/runs/{id}", self._cancel)
        app.router.add_get("/runs", self._list)
        app.router.add_get("/health", self._health)
        return app

    async def _run(self, request: web.Request) -> web.Response:
        name, content = request.match_info["id"], (await request.json())["content"]
        prompt = content.get("prompt")
        if not isinstance(prompt, str):
            return _refuse(400, "invalid_content", "content.prompt: must be a text")
        if name in self._stopped:
            return _refuse(409, "already_running", "a run of this id is here")
        self._stopped[name] = False
        try:
            async with self._gpu.turn():
                if self._stopped[name]:
                    return _refuse(409, "cancelled", "the run was cancelled")
                return await self._generate(name, prompt, int(content.get("count", 1)))
        finally:
            del self._stopped[name]

    async def _generate(self, name: str, prompt: str, count: int) -> web.Response:
        struck = self._faults.take(prompt)
        answering = dict(struck)
        try:
            with self._gpu.running("run", prompt, struck, identifier=name) as job:
                self._running = name, job
                self._gpu.fail_if_ordered(struck)
                if (ordered := struck.get(FaultName.ERROR)) is not None:
                    raise _OrderedError(ordered)
                finished = await job.steps(_STEPS, self._gpu.latency.task_seconds(0.1) / _STEPS)
        except OutOfMemoryError as error:
            return _refuse(500, "out_of_memory", str(error))
        except _OrderedError as error:
            return _refuse(error.fault.status or 500, "ordered", error.fault.message or "something went wrong")
        finally:
            self._running = None
        if not finished:
            return _refuse(409, "cancelled", "the run was cancelled")
        garbage = await disturb(answering)
        if garbage is not None:
            return garbage
        outputs = [{"data": _picture(prompt, number), "name": f"{number}.bmp"} for number in range(count)]
        return json_response({"outputs": outputs})

    async def _cancel(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        if name not in self._stopped:
            return _refuse(404, "unknown_run", "no such run")
        self._stopped[name] = True
        if self._running is not None and self._running[0] == name:
            self._running[1].interrupt()
        return web.Response(status=204)

    async def _progress(self, request: web.Request) -> web.Response:
        if request.match_info["id"] not in self._stopped:
            return _refuse(404, "unknown_run", "no such run")
        return json_response({"progress": 0.0})

    async def _list(self, _: web.Request) -> web.Response:
        return json_response({"runs": list(self._stopped)})

    async def _health(self, _: web.Request) -> web.Response:
        return json_response({"status": "ready"})


def make_app(*, seconds_per_task: float | None = None, latency: float = 1.0) -> web.Application:
    """Returns the server, its faults and its jobs."""
    gpu, faults = Gpu(LatencyModel(latency, seconds_per_task), 24 * GIB), FaultBook()
    app = HttpRuntime(gpu, faults).application()
    add_routes(app, gpu, faults, "http")
    return app


def main() -> None:
    """Serves until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--type", choices=["http"], default="http")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--latency", type=float, default=1.0)
    parser.add_argument("--seconds-per-task", type=float)
    given = parser.parse_args()
    configure_logging("info", "json")
    app = make_app(seconds_per_task=given.seconds_per_task, latency=given.latency)

    async def serve() -> None:
        # A handler goes on when its client hangs up: what was begun is generated to its end.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=False)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", given.port).start()
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()

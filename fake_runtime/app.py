"""Puts a fake runtime together from its settings."""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import web

from fake_runtime import admin
from fake_runtime.answers import refuse_unknown_faults
from fake_runtime.comfyui.files import Files
from fake_runtime.comfyui.routes import ComfyUi
from fake_runtime.faults import Fault, FaultBook, check_order
from fake_runtime.gpu.device import Gpu, leave_at_once
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.memory import GIB
from fake_runtime.hosts import AllowedHosts, guard
from fake_runtime.invokeai.routes import InvokeAi
from fake_runtime.openai.routes import OpenAi
from fake_runtime.sdwebui.routes import WebUi
from fake_runtime.settings import Settings

GPU_KEY = web.AppKey("gpu", Gpu)
FAULTS_KEY = web.AppKey("faults", FaultBook)


def read_faults(settings: Settings) -> list[Fault]:
    """The faults ordered at the start.

    Raises:
        FaultError: one of them does not exist, or not for this type of runtime.
    """
    faults = [Fault.parse(text) for text in settings.fault]
    for fault in faults:
        check_order(fault, settings.type, at_start=True)
    return faults


def create_app(
    settings: Settings,
    faults: Iterable[Fault] = (),
    *,
    directory: Path | None = None,
    leave: Callable[[int], None] = leave_at_once,
) -> web.Application:
    """Makes the application of one runtime; it needs a running event loop.

    Args:
        settings: as from the command line.
        faults: ordered from the start.
        directory: where ComfyUI and InvokeAI keep files; a temporary folder if neither this nor the setting is given.
        leave: ends the process for the ``exit-in-the-middle`` fault.
    """
    latency = LatencyModel(settings.latency, settings.seconds_per_task)
    gpu = Gpu(latency, int(settings.vram_gib * GIB), leave=leave)
    book = FaultBook(faults, runtime_type=settings.type)
    scratch = None
    if settings.type == "sdwebui":
        app = WebUi(settings, gpu, book).application()
    elif settings.type == "openai":
        app = OpenAi(settings, gpu, book).application()
    else:
        base = directory or settings.directory
        if base is None:
            base = scratch = Path(tempfile.mkdtemp(prefix=f"fake-{settings.type}-"))
        if settings.type == "invokeai":
            app = InvokeAi(settings, gpu, book, base).application()
        else:
            app = ComfyUi(settings, gpu, book, Files(base, settings.keep_outputs)).application()
    if scratch is not None:
        app.on_cleanup.append(_remover(scratch))
    hosts = AllowedHosts.of(settings.allowed_hosts, settings.host)
    app.middlewares.insert(0, guard(hosts, pages=settings.type != "comfyui"))
    app.middlewares.append(refuse_unknown_faults(settings.type))
    app[GPU_KEY] = gpu
    app[FAULTS_KEY] = book
    admin.add_routes(app, gpu, book, settings.type)
    return app


def _remover(folder: Path) -> Callable[[web.Application], Awaitable[None]]:
    async def remove(_: web.Application) -> None:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    return remove


def listening_socket(host: str, port: int) -> socket.socket:
    """Binds an address.

    Raises:
        OSError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=128)


async def start(app: web.Application, listener: socket.socket, *, shutdown_timeout: float = 0) -> web.AppRunner:
    """Serves on a socket until the runner is cleaned up, and then for so many seconds what it has taken.

    A handler goes on when its client hangs up, as with the real servers: what was begun is generated to its end.
    """
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=shutdown_timeout)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner

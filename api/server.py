"""Runs the application under uvicorn, and ends event streams when it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from api.protocol import Protocol
from api.settings import Settings


class Server(uvicorn.Server):
    """A uvicorn server that says when it begins to stop, and prints no log line of its own but errors."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, say: Callable[[str], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._say = say
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Begins to listen, and says where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                self._say(f"http://{host}:{port}" if ":" not in host else f"http://[{host}]:{port}")

    async def on_tick(self, counter: int) -> bool:
        """Looks once a second for clients that have had their time; uvicorn calls this each 0.1 s."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Protocol)
                connection.check_time(now, self.config.timeout_keep_alive)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to stop: no new connections, event streams end, other requests finish."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        super().handle_exit(sig, frame)


def server_config(app: ASGIApp, settings: Settings, origins: tuple[str, ...] = ()) -> uvicorn.Config:
    """Returns how uvicorn is to serve: limits against slow and endless clients included.

    Args:
        app: what is served.
        settings: of this process.
        origins: whose pages may read what is refused before the application sees it.
    """

    class Limited(Protocol):
        request_seconds = settings.request_seconds
        allowed_origins = origins

    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Limited,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.grace_period_seconds,
        backlog=2048,
    )

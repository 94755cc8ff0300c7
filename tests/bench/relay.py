"""A TCP relay before LocalStack: it delays each request by some milliseconds, and may keep a diary of SQS."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final, Self
from urllib.parse import urlsplit

from tests.bench.exchanges import QueueDiary, is_whole

_PIECE: Final = 256 * 1024


class Relay:
    """Listens on 127.0.0.1 as long as the `async with` block lasts.

    Args:
        upstream: the URL that requests go on to.
        delay: seconds that whatever a client sends is held back; answers are not.
        diary: takes down each exchange.
    """

    def __init__(self, upstream: str, *, delay: float = 0.0, diary: QueueDiary | None = None) -> None:
        address = urlsplit(upstream)
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._delay = delay
        self._diary = diary
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_PIECE)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            onward_reader, onward = await asyncio.open_connection(self._host, self._port, limit=_PIECE)
            exchange = _Exchange(self._diary)
            directions = [
                asyncio.create_task(self._requests(reader, onward, exchange)),
                asyncio.create_task(_answers(onward_reader, writer, exchange)),
            ]
            try:
                # Whichever side hangs up ends both: a long poll that its caller has left must end at SQS too.
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for direction in directions:
                    direction.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
                onward.close()
                writer.close()

    async def _requests(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter, exchange: _Exchange) -> None:
        if not self._delay:
            while piece := await reader.read(_PIECE):
                exchange.asked(piece)
                onward.write(piece)
                await onward.drain()
            return
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def pass_on() -> None:
            while True:
                due, piece = await waiting.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                onward.write(piece)
                await onward.drain()

        async with asyncio.TaskGroup() as group:
            passing = group.create_task(pass_on())
            while piece := await reader.read(_PIECE):
                exchange.asked(piece)
                waiting.put_nowait((time.monotonic() + self._delay, piece))
            passing.cancel()


async def _answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, exchange: _Exchange) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        exchange.answered(piece)
        await writer.drain()


class _Exchange:
    """The request and answer that a connection carries just now."""

    def __init__(self, diary: QueueDiary | None) -> None:
        self._diary = diary
        self._request = bytearray()
        self._response = bytearray()

    def asked(self, piece: bytes) -> None:
        if self._diary is not None:
            self._request += piece

    def answered(self, piece: bytes) -> None:
        if self._diary is None:
            return
        self._response += piece
        if is_whole(bytes(self._response)):
            self._diary.note(bytes(self._request), bytes(self._response), time.time())
            self._request.clear()
            self._response.clear()

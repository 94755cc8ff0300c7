"""Sends HTTP requests as fast as they are answered, over kept connections, for so little processor time that the
server is what is measured."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_GRACE: Final = 30.0
"""Seconds for the answers that are under way at the end."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; status 0: the connection was lost before it was whole."""

    status: int
    seconds: float


class _Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, and asks again, until there is nothing more to ask."""

    def __init__(self, next_request: Callable[[], bytes | None], note: Callable[[Reply], None]) -> None:
        self._next_request = next_request
        self._note = note
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._wanted = -1
        self._asked_at = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._wanted < 0:
            end = self._buffer.find(_HEAD_END)
            if end < 0:
                return
            self._wanted = end + len(_HEAD_END) + content_length(bytes(self._buffer[:end]))
        if len(self._buffer) >= self._wanted:
            status = int(self._buffer[9:12])
            self._note(Reply(status, time.monotonic() - self._asked_at))
            self._ask()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self._note(Reply(0, time.monotonic() - self._asked_at))
            self.ended.set_result(None)

    def _ask(self) -> None:
        assert self._transport is not None
        self._buffer.clear()
        self._wanted = -1
        request = self._next_request()
        if request is None:
            self.ended.set_result(None)
            self._transport.close()
            return
        self._asked_at = time.monotonic()
        self._transport.write(request)


def content_length(head: bytes) -> int:
    """Returns the length of the body that an answer's head announces; 0 when it says nothing."""
    lowered = head.lower()
    at = lowered.find(_LENGTH)
    if at < 0:
        return 0
    return int(lowered[at + len(_LENGTH) :].split(b"\r\n", 1)[0])


async def load(
    port: int,
    connections: int,
    make_request: Callable[[], bytes],
    note: Callable[[Reply], None],
    *,
    seconds: float | None = None,
    requests: int | None = None,
) -> None:
    """Sends requests to 127.0.0.1 until the time is over or so many were sent.

    Args:
        port: of the server.
        connections: each with one request at a time.
        make_request: makes the bytes of a request, which keeps the connection open.
        note: is told of each answer.
        seconds: after which no request is sent any more.
        requests: after which none is sent any more.
    """
    loop = asyncio.get_running_loop()
    deadline = None if seconds is None else time.monotonic() + seconds
    left = requests

    def next_request() -> bytes | None:
        nonlocal left
        if deadline is not None and time.monotonic() >= deadline:
            return None
        if left is not None:
            if left == 0:
                return None
            left -= 1
        return make_request()

    made = [
        (await loop.create_connection(lambda: _Connection(next_request, note), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    async with asyncio.timeout(None if seconds is None else seconds + _GRACE):
        await asyncio.gather(*(connection.ended for connection in made))

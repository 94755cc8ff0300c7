"""Lets in only as many bytes of bodies at once as there is memory for; the rest waits, and is answered 503 in the end.

A body takes its own size while it is read, and some times as much while it is understood and put on its way: its
characters may take four bytes each, and it is encoded again. So there are two rooms, the second a smaller one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from starlette.requests import Request

from api.body import check_content_type, read_body
from api.errors import UnavailableError

SMALL: Final = 64 * 1024
"""Bytes of a body that needs no room: as many are buffered for each connection anyway."""

_READ_AT_ONCE: Final = 4
"""Bodies of the largest size that may be read at once; only one of those is understood meanwhile."""

_WAIT_SECONDS: Final = 15


class Room:
    """Bytes that may be taken at once. Whoever finds too few free waits in line."""

    def __init__(self, capacity: int) -> None:
        self.free = self.capacity = capacity
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Has so many bytes while the context lasts; all of them when there are fewer.

        Raises:
            UnavailableError: none came free in time.
        """
        size = min(size, self.capacity)
        if self._line or size > self.free:
            await self._wait(size)
        else:
            self.free -= size
        try:
            yield
        finally:
            self.free += size
            self._admit()

    async def _wait(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._line.append(entry)
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await turn
        except BaseException as error:
            if entry in self._line:
                self._line.remove(entry)
            if not turn.cancelled():  # it came at the same moment
                self.free += size
            self._admit()
            if isinstance(error, TimeoutError):
                raise UnavailableError(
                    "too many large bodies at once; send this one again later, or its images behind links",
                    code="busy",
                    headers={"connection": "close"},
                ) from error
            raise

    def _admit(self) -> None:
        while self._line and self._line[0][0] <= self.free:
            size, turn = self._line.popleft()
            if not turn.done():
                self.free -= size
                turn.set_result(None)


class Intake:
    """Reads bodies.

    Args:
        limit: bytes of the largest body.
        seconds: in which a body must have come; see `api.body.read_body`.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._reading = Room(_READ_AT_ONCE * limit)
        self._working = Room(limit)

    @property
    def is_empty(self) -> bool:
        """Whether no body has any room."""
        return all(room.free == room.capacity for room in (self._reading, self._working))

    async def read(self, request: Request) -> tuple[bytearray, AsyncExitStack | None]:
        """Returns the body of a request, and the room that it takes, which is given back by closing that.

        Raises:
            ApiError: 415 not declared as JSON; what `read_body` raises; 503, there was no room in time.
        """
        check_content_type(request.headers.get("content-type", ""), request.headers.get("content-encoding", ""))
        reading: AsyncExitStack | None = None

        async def room(size: int) -> None:
            nonlocal reading
            reading = AsyncExitStack()
            await reading.enter_async_context(self._reading.take(size))

        try:
            body = await read_body(request, self._limit, seconds=self._seconds, small=SMALL, room=room)
            if len(body) <= SMALL:
                return body, None
            async with AsyncExitStack() as working:
                await working.enter_async_context(self._working.take(len(body)))
                return body, working.pop_all()
        finally:
            if reading is not None:
                await reading.aclose()

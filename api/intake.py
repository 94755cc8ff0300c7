"""Lets in only as many bytes of bodies at once as there is memory for; the rest waits, and is answered 503 in the end.

A body takes its own size while it is read, and some times as much while it is understood and put on its way: its
characters may take four bytes each, and it is encoded again. So there are two rooms, the second a smaller one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from api.body import check_content_type, check_encoding, check_file_type, read_body, read_small
from api.errors import UnavailableError

SMALL: Final = 64 * 1024
"""Bytes of a body that needs no room: as many are buffered for each connection anyway."""

_READ_AT_ONCE: Final = 4
"""Bodies of the largest size that may be read at once; only one of those is understood meanwhile."""

_WAIT_SECONDS: Final = 15


@dataclass(eq=False)
class _Wish:
    """Bytes that somebody wants."""

    size: int
    owner: str
    turn: asyncio.Future[None]
    """Done as soon as they are his, or when he has gone."""
    granted: bool = False


class Room:
    """Bytes that may be taken at once. Whoever finds too few free waits in line.

    An owner gets half of them, so that others have the rest: who sends slowly has his bytes for as long. He does not
    hold up those behind him in line. All who have no name are one, who may take all.
    """

    def __init__(self, capacity: int) -> None:
        self.free = self.capacity = capacity
        self._line: list[_Wish] = []
        self._of: Counter[str] = Counter()

    @asynccontextmanager
    async def take(self, size: int, owner: str = "") -> AsyncIterator[None]:
        """Has so many bytes while the context lasts; all of them when there are fewer.

        Raises:
            UnavailableError: none came free in time.
        """
        wish = _Wish(min(size, self.capacity), owner, asyncio.get_running_loop().create_future())
        self._line.append(wish)
        self._admit()
        try:
            if not wish.granted:
                await self._wait(wish)
            yield
        finally:
            if wish.granted:
                self._count(wish, -1)
            else:
                self._line.remove(wish)
            self._admit()

    async def _wait(self, wish: _Wish) -> None:
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await wish.turn
        except TimeoutError as error:
            raise UnavailableError(
                "too many large bodies at once; send this one again later, or its images behind links",
                code="busy",
                headers={"connection": "close"},
            ) from error

    def _admit(self) -> None:
        for wish in list(self._line):
            if wish.turn.done() or self._has_its_share(wish):
                continue
            if wish.size > self.free:
                return
            self._line.remove(wish)
            self._count(wish, 1)
            wish.granted = True
            wish.turn.set_result(None)

    def _has_its_share(self, wish: _Wish) -> bool:
        has = self._of[wish.owner]
        return bool(wish.owner and has) and has + wish.size > self.capacity // 2

    def _count(self, wish: _Wish, change: int) -> None:
        self.free -= change * wish.size
        self._of[wish.owner] += change * wish.size
        if not self._of[wish.owner]:
            del self._of[wish.owner]


class Intake:
    """Reads bodies.

    Args:
        limit: bytes of the largest body.
        seconds: in which a body must have come; see `api.body.read_body`.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit = limit
        self._small = min(SMALL, limit)
        self._seconds = seconds
        self._reading = Room(_READ_AT_ONCE * limit)
        self._working = Room(limit)

    @property
    def is_empty(self) -> bool:
        """Whether no body has any room."""
        return all(room.free == room.capacity for room in (self._reading, self._working))

    def room(self, size: int, owner: str) -> AbstractAsyncContextManager[None]:
        """Returns so much of the room of what is read, for a body that is read elsewhere; see `Room.take`."""
        return self._reading.take(size, owner)

    async def read(self, request: Request, owner: str) -> tuple[bytearray, AsyncExitStack | None]:
        """Returns the body of a request, and the room that it takes, which is given back by closing that.

        Args:
            request: its body has not been read.
            owner: the name of its API key; empty: none is asked for.

        Raises:
            ApiError: 415 not declared as JSON; what `read_body` raises; 503, there was no room in time.
        """
        check_content_type(request.headers.get("content-type", ""), request.headers.get("content-encoding", ""))
        declared = request.headers.get("content-length", "")
        if len(declared) < 6 and declared.isdecimal() and int(declared) <= self._small:
            return await read_small(request, seconds=self._seconds), None
        return await self._read(request, owner, len)

    @asynccontextmanager
    async def file(self, request: Request, owner: str, weigh: Callable[[bytearray], int]) -> AsyncIterator[bytearray]:
        """Reads a body of any type, and has the room that it takes while the context lasts.

        Args:
            request: its body has not been read.
            owner: see `read`.
            weigh: tells how many bytes of JSON may come of the body.

        Raises:
            ApiError: 415 a form, or compressed; what `read_body` raises; 503, there was no room in time.
        """
        check_file_type(request.headers.get("content-type", ""))
        check_encoding(request.headers.get("content-encoding", ""))
        body, room = await self._read(request, owner, weigh)
        try:
            yield body
        finally:
            if room is not None:
                await room.aclose()

    async def _read(
        self, request: Request, owner: str, weigh: Callable[[bytearray], int]
    ) -> tuple[bytearray, AsyncExitStack | None]:
        reading: AsyncExitStack | None = None

        async def room(size: int) -> None:
            nonlocal reading
            reading = AsyncExitStack()
            await reading.enter_async_context(self._reading.take(size, owner))

        try:
            body = await read_body(request, self._limit, seconds=self._seconds, small=SMALL, room=room)
            weight = weigh(body)
            if weight <= SMALL:
                return body, None
            async with AsyncExitStack() as working:
                await working.enter_async_context(self._working.take(weight))
                return body, working.pop_all()
        finally:
            if reading is not None:
                await reading.aclose()

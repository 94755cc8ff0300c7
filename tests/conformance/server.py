"""The HTTP and WebSocket client with which cases ask a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Protocol

import aiohttp

from tests.conformance.case import DeviationError, NotApplicableError, check

PATIENCE: Final = 30.0
"""Seconds within which whatever a case waits for must happen."""
START_WITHIN: Final = 600.0
"""Seconds within which a server that is started must listen: it may load its models first."""
_POLL: Final = 0.02


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        """The body as JSON if it is JSON, else as text."""
        try:
            return json.loads(self.data)
        except ValueError:
            return self.data.decode(errors="replace")

    def shown(self) -> dict[str, Any]:
        """As reports show it."""
        return {"status": self.status, "body": self.body}


class Owner(Protocol):
    """Who can start and end the server's process."""

    async def start(self) -> None:
        """Starts the process; does not wait until it listens."""

    async def terminate(self) -> None:
        """Ends the process as an orchestrator does (SIGTERM), and waits until it is gone."""


@dataclass
class Server:
    """One server under test.

    Attributes:
        session: of aiohttp, without a base address.
        url: where the server listens.
        busy_seconds: how long a job should take that a case wants to meet while it runs.
        owner: who can restart the server; None when nobody here can.
        notes: what one case found out that others need, such as a checkpoint's name.
    """

    ready_path: ClassVar[str]
    """Of each type: a GET that answers 200 once the server can take work."""

    session: aiohttp.ClientSession
    url: str
    busy_seconds: float = 2.5
    owner: Owner | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    async def send(self, method: str, path: str, *, timeout: float = PATIENCE, **options: Any) -> Reply:  # noqa: ASYNC109
        """Sends a request (options as aiohttp's) and reads the whole answer, whatever its status."""
        async with self.session.request(
            method, self.url + path, timeout=aiohttp.ClientTimeout(total=timeout), allow_redirects=False, **options
        ) as response:
            return Reply(response.status, dict(response.headers), await response.read())

    async def get(self, path: str, **options: Any) -> Any:
        """Returns the body of a GET that must answer 200."""
        return await self._body("GET", path, options)

    async def post(self, path: str, document: Any, **options: Any) -> Any:
        """Returns the body of a POST of JSON that must answer 200."""
        return await self._body("POST", path, {"json": document, **options})

    async def _body(self, method: str, path: str, options: dict[str, Any]) -> Any:
        reply = await self.send(method, path, **options)
        check(f"{method} {path}", {"status": 200}, reply.shown())
        return reply.body

    async def refuses(self, method: str, path: str, status: Any, body: Any, **options: Any) -> None:
        """Holds an answer against the status and the body that are expected."""
        reply = await self.send(method, path, **options)
        check(f"{method} {path}", {"status": status, "body": body}, reply.shown())

    def owned(self) -> Owner:
        """Returns who can restart the server.

        Raises:
            NotApplicableError: nobody can.
        """
        if self.owner is None:
            raise NotApplicableError("needs --start, the server's command line")
        return self.owner

    async def listens(self) -> bool:
        """Tells whether the server can take work."""
        try:
            return (await self.send("GET", self.ready_path)).status == 200
        except (aiohttp.ClientError, OSError):
            return False

    async def start(self) -> None:
        """Starts the process, and waits until it listens."""
        await self.owned().start()
        await eventually("the server listens", self.listens, within=START_WITHIN)

    async def start_afresh(self) -> None:
        """Ends and starts the process, which must refuse connections for a while.

        Raises:
            DeviationError: it listened at once.
        """
        await self.owned().terminate()
        await self.owned().start()
        if await self.listens():
            raise DeviationError("it listens at once", "connections are refused while it loads", "200")
        await eventually("the server listens", self.listens, within=START_WITHIN)

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[Events]:
        """Opens a WebSocket."""
        async with self.session.ws_connect(self.url + path, max_msg_size=0) as websocket:
            yield Events(websocket)


class Events:
    """The messages of one WebSocket."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse) -> None:
        self.websocket = websocket
        self.frames: list[bytes] = []
        """Binary frames that came between the messages."""

    async def next(self, within: float = PATIENCE) -> dict[str, Any]:
        """Returns the next JSON message.

        Raises:
            DeviationError: none comes, or the socket closes.
        """
        while True:
            try:
                received = await self.websocket.receive(timeout=within)
            except TimeoutError as error:
                raise DeviationError("the WebSocket is silent", "a message", f"nothing for {within} s") from error
            if received.type is aiohttp.WSMsgType.BINARY:
                self.frames.append(received.data)
                continue
            if received.type is not aiohttp.WSMsgType.TEXT:
                raise DeviationError("the WebSocket ends", "a message", f"{received.type.name} {received.data}")
            message: dict[str, Any] = json.loads(received.data)
            return message

    async def until(self, kind: str, **data: Any) -> list[dict[str, Any]]:
        """Returns all messages up to the first of this kind that has this data."""
        seen: list[dict[str, Any]] = []
        while True:
            seen.append(await self.next())
            last = seen[-1]
            if last["type"] == kind and all(last["data"].get(name, ...) == value for name, value in data.items()):
                return seen

    async def closed(self) -> int | None:
        """Returns the code with which the socket closes."""
        async with asyncio.timeout(PATIENCE):
            async for _ in self.websocket:
                pass
        return self.websocket.close_code


async def eventually[T](what: str, ask: Callable[[], Awaitable[T]], within: float = PATIENCE) -> T:
    """Returns the first truthy answer.

    Raises:
        DeviationError: there was none in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while not (answer := await ask()):
        if loop.time() > deadline:
            raise DeviationError(what, f"within {within} s", answer)
        await asyncio.sleep(_POLL)
    return answer

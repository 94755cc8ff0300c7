"""HTTP to one runtime server: every way in which a connection fails, told apart."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import structlog
from yarl import URL

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes.allowance import MOST_BYTES, Allowance, Allowances

CONNECT_TIMEOUT: Final = 5.0
"""Seconds to reach the server; it stands in the same pod."""

SHORT: Final = 30.0
"""Seconds for every request that is not a run. A server whose Python is busy with a run answers slowly."""

TRANSFER_TIMEOUT: Final = 300.0
"""Seconds for a file to or from the server, and for an answer that may be large, or late since a run keeps it busy."""

KEPT_SECONDS: Final = 1.0
"""How long an unused connection is kept: long enough for the next run, when one follows the other."""

MOST_OF_REFUSAL: Final = 1024 * 1024
"""Bytes of an answer that says why there is none, or of one that nobody needs: what comes after them is not read."""

SMALL: Final = 1024 * 1024
"""Bytes of an answer that tells a figure or a few."""

_READY_PAUSE: Final = (0.1, 2.0)
_SAY_INTERVAL: Final = 10.0
_CLOSE_TIMEOUT: Final = 1.0
_PROBES: Final = (0.0, 0.25, 0.5)

type WebSocket = aiohttp.ClientWebSocketResponse[Any]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the status is 200."""
        return self.status == 200


def open_session(token: str = "") -> aiohttp.ClientSession:
    """Returns a session for `make_runtime`: connections kept for a moment only, no cookies, no overall timeout.

    A token is sent as `Authorization: Bearer` with every request.

    A runtime closes idle connections after some seconds (uvicorn: 5, aiohttp: 75). A run that is sent at that very
    moment dies with its connection, and nobody can tell whether the server began it. So this side closes them first.

    Nothing comes compressed: SD Web UI would gzip its answer on the one thread that answers anybody, for a second and
    more (measured on 1.10.1: 7.8 MB), and base64 of PNGs hardly shrinks.
    """
    return aiohttp.ClientSession(
        headers={"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})},
        connector=aiohttp.TCPConnector(keepalive_timeout=KEPT_SECONDS, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        trust_env=False,
    )


class Server:
    """One runtime server.

    Args:
        session: see `open_session`.
        base_url: where it listens; a user and password in it are sent as basic authentication, and its query
            (`?token=…`) goes with every request.
        title: what messages call it, such as `SD Web UI`.
        ready_path: a cheap GET that answers 200 when the server can take work.
        or_ready_path: another one, for servers that lack the first; empty: none.
        is_ready: tells from the body of such an answer whether it says so, too.
        most_bytes: of one answer.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        *,
        title: str,
        ready_path: str,
        or_ready_path: str = "",
        is_ready: Callable[[bytes], bool] = lambda _: True,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        url = URL(base_url)
        self._session = session
        self._headers = _basic_authentication(url)
        self._base = str(url.with_user(None).with_query(None)).rstrip("/")
        self._query = dict(url.query)
        self._ready_path = ready_path
        self._or_ready_path = or_ready_path
        self._is_ready = is_ready
        self.title = title
        self.allowances = Allowances(title, most_bytes)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes | aiohttp.FormData | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float | None = SHORT,  # noqa: ASYNC109 - handed to aiohttp
        allowance: Allowance | None = None,
        most: int | None = None,
    ) -> Reply:
        """Sends a request and reads the whole answer; of one that is no success, the first `MOST_OF_REFUSAL` bytes.

        Args:
            method: GET or POST.
            path: from the server's root, with its first slash.
            body: JSON, encoded; or a form.
            params: the query.
            timeout: seconds for all of it; None waits as long as it takes.
            allowance: of the answer that this is a part of; None: it is one by itself.
            most: bytes of one by itself, where less is expected than an answer may have.

        Raises:
            PermanentError: the answer is too large.
            RuntimeUnavailableError: nobody listens, or the server went away while it was asked.
            TransientError: it is there, but closed the connection or did not answer in time.
        """
        try:
            async with self._session.request(
                method,
                self._address(path),
                data=body,
                params=params,
                headers=self._headers_for(body),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout, sock_connect=CONNECT_TIMEOUT),
            ) as response:
                if allowance is not None:
                    return await read_reply(response, allowance)
                async with self.allowances.one(most) as own:
                    return await read_reply(response, own)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._absent() from error
        except TimeoutError as error:
            raise TransientError(
                "runtime_timeout", f"{self.title} did not answer {method} {path} within {timeout} s"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise await self.why_lost() from error

    async def open(self, method: str, path: str, *, body: bytes | aiohttp.FormData) -> Opened:
        """Sends JSON or a form, and waits as long as it takes for the head of its answer; close what it returns.

        Raises:
            RuntimeUnavailableError, TransientError: as `request`.
        """
        try:
            response = await self._session.request(
                method,
                self._address(path),
                data=body,
                headers=self._headers_for(body),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._absent() from error
        except (aiohttp.ClientError, OSError) as error:
            raise await self.why_lost() from error
        return Opened(self, response)

    @asynccontextmanager
    async def websocket(self, path: str) -> AsyncIterator[WebSocket]:
        """Opens a WebSocket. A message of more bytes than an answer may have ends it with an error.

        Raises:
            aiohttp.ClientError, OSError: it does not open, or breaks.
        """
        async with asyncio.timeout(SHORT):
            socket = await self._session.ws_connect(
                self._address(path),
                headers=self._headers,
                max_msg_size=self.allowances.most,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT),
            )
        try:
            yield socket
        finally:
            await socket.close()

    @property
    def base(self) -> str:
        """The address under which the paths are, without credentials and query."""
        return self._base

    def _headers_for(self, body: bytes | aiohttp.FormData | None) -> dict[str, str]:
        return {**self._headers, **({"Content-Type": "application/json"} if isinstance(body, bytes) else {})}

    def _address(self, path: str) -> str:
        if not self._query:
            return self._base + path
        return f"{self._base}{path}{'&' if '?' in path else '?'}{urlencode(self._query)}"

    async def is_alive(self) -> bool:
        """Tells whether the server answers its ready path now."""
        return await self._reason_not_ready() is None

    async def wait_until_ready(self) -> None:
        """Returns once the ready path answers 200; says now and then that it still waits, and why."""
        pause, most = _READY_PAUSE
        loop = asyncio.get_running_loop()
        started = said = loop.time()
        while (reason := await self._reason_not_ready()) is not None:
            if loop.time() - said >= _SAY_INTERVAL:
                said = loop.time()
                log.info("waiting for the runtime", runtime=self.title, because=reason, seconds=round(said - started))
            await asyncio.sleep(pause)
            pause = min(most, pause * 1.5)

    async def why_lost(self) -> TaskError:
        """Returns what a lost connection means: did the server die, or did it drop just this connection?"""
        for pause in _PROBES:
            await asyncio.sleep(pause)
            try:
                await self._probe(self._ready_path)
            except (aiohttp.ClientError, OSError):
                return RuntimeUnavailableError("runtime_lost", f"{self.title} went away in the middle of a request")
        return TransientError("connection_lost", f"{self.title} closed the connection before it had answered")

    async def _reason_not_ready(self) -> str | None:
        path = self._ready_path
        try:
            reply = await self._probe(path)
            if self._or_ready_path and reply.status in {404, 405, 501}:
                path = self._or_ready_path
                reply = await self._probe(path)
        except (aiohttp.ClientError, OSError) as error:
            return f"it does not answer ({type(error).__name__})"
        if not reply.ok:
            return f"{path} answers {reply.status}"
        return None if self._is_ready(reply.body) else f"{path} does not say that it is ready"

    async def _probe(self, path: str) -> Reply:
        async with self._session.get(
            self._address(path),
            headers=self._headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=10, sock_connect=CONNECT_TIMEOUT),
        ) as response:
            return Reply(response.status, await _beginning(response))

    def _absent(self) -> RuntimeUnavailableError:
        return RuntimeUnavailableError("runtime_unreachable", f"{self.title} does not listen at its address")


class Opened:
    """An HTTP answer whose head has arrived."""

    def __init__(self, server: Server, response: aiohttp.ClientResponse) -> None:
        self._server = server
        self._response = response

    @property
    def ok(self) -> bool:
        """Whether the status is 200."""
        return self._response.status == 200

    @property
    def size(self) -> int | None:
        """Bytes that are to come, if the server says."""
        return self._response.content_length

    async def read(self, seconds: float) -> Reply:
        """Returns the whole answer.

        Raises:
            PermanentError: it is too large.
            TransientError: it did not arrive within so many seconds, or the server closed the connection.
            RuntimeUnavailableError: the server went away.
        """
        try:
            async with asyncio.timeout(seconds), self._server.allowances.one() as allowance:
                return await read_reply(self._response, allowance)
        except TimeoutError as error:
            raise TransientError(
                "runtime_timeout", f"{self._server.title} did not send its answer within {seconds:g} s"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise await self._server.why_lost() from error
        finally:
            # Without effect when all was read: then the connection is kept for the next request.
            self._response.close()

    def close(self) -> None:
        """Closes the connection, whatever is still to come."""
        self._response.close()


async def read_reply(response: aiohttp.ClientResponse, allowance: Allowance) -> Reply:
    """Returns an answer; of one that is no success, the first `MOST_OF_REFUSAL` bytes.

    Raises:
        PermanentError: it is too large; its connection is closed.
        aiohttp.ClientError, OSError, TimeoutError: it does not come.
    """
    if response.status >= 300:
        return Reply(response.status, await _beginning(response))
    chunks: list[bytes] = []
    try:
        allowance.check(response.content_length or 0)
        async for chunk in response.content.iter_any():
            await allowance.take(len(chunk))
            chunks.append(chunk)
    except PermanentError:
        response.close()
        raise
    return Reply(response.status, b"".join(chunks))


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Returns an answer's first `MOST_OF_REFUSAL` bytes; where it is longer, the connection is closed."""
    chunks: list[bytes] = []
    left = MOST_OF_REFUSAL
    async for chunk in response.content.iter_any():
        chunks.append(chunk[:left])
        left -= len(chunk)
        if left < 0:
            response.close()
            break
    return b"".join(chunks)


class Interrupts:
    """Requests that are never cut off: a server that takes an interrupt late would stop whatever runs by then."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sent: set[asyncio.Task[Reply]] = set()

    @property
    def pending(self) -> bool:
        """Whether one is sent and not answered yet."""
        return bool(self._sent)

    async def send(self, path: str, body: bytes) -> Reply:
        """Sends one, and returns its answer; it goes on when the caller is cancelled.

        Raises:
            TaskError: as `Server.request`.
        """
        sent = asyncio.create_task(self._server.request("POST", path, body=body, timeout=None))
        self._sent.add(sent)
        sent.add_done_callback(self._sent.discard)
        sent.add_done_callback(look_at)
        return await asyncio.shield(sent)

    async def settle(self) -> None:
        """Returns once each one that was sent is answered, or its connection has broken."""
        while self._sent:
            await asyncio.wait(self._sent)
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Gives up what is not answered."""
        for task in self._sent:
            task.cancel()
        await asyncio.gather(*self._sent, return_exceptions=True)


async def ask_to_restart(server: Server, routes: Sequence[tuple[str, str]], *, lacking: frozenset[int]) -> bool:
    """Asks the server to end or to start itself again, by each route until it takes one; returns whether it did.

    Args:
        server: the server.
        routes: methods and paths, in order.
        lacking: the statuses that say that it has no such route, so that the next one is worth a try.
    """
    for method, path in routes:
        try:
            reply = await server.request(method, path)
        except RuntimeUnavailableError:
            return True
        except TransientError as error:
            # It ends in the middle of the answer.
            return error.code == "connection_lost"
        if 200 <= reply.status < 300:
            return True
        if reply.status not in lacking:
            log.info("the runtime does not restart by itself", path=path, status=reply.status)
            return False
    return False


def look_at(request: asyncio.Task[Any]) -> None:
    """Takes note of how a request ended, which nobody may be waiting for any more."""
    if not request.cancelled():
        request.exception()


def _basic_authentication(url: URL) -> dict[str, str]:
    """Returns the header (RFC 7617) for the user and password of an address."""
    if not url.user and not url.password:
        return {}
    secret = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode("ascii")
    return {"Authorization": f"Basic {secret}"}

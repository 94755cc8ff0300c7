"""Stands between the processes and LocalStack, and makes AWS slow, mute or wrong for the calls that a test chooses."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.serving import ThreadedServer

_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"})
_S3_OPERATIONS: Final = {
    "GET": "GetObject",
    "PUT": "PutObject",
    "HEAD": "HeadObject",
    "DELETE": "DeleteObject",
    "POST": "PostObject",
}
_MAX_BODY: Final = 64 * 1024 * 1024


@dataclass(frozen=True)
class Call:
    """One request to AWS."""

    service: str
    """`s3`, `sqs` or `sns`."""
    operation: str
    """As AWS names it, such as `ReceiveMessage`."""
    resource: str
    """S3: `bucket/key`; SQS and SNS: nothing."""
    body: bytes

    def __str__(self) -> str:
        return f"{self.service}:{self.operation} {self.resource}".strip()


Match = Callable[[Call], bool]


def everything(call: Call) -> bool:
    """Matches each call."""
    return True


def operations(*names: str) -> Match:
    """Returns a match for operations by name, such as `Publish`."""
    return lambda call: call.operation in names


@dataclass(eq=False)
class Gate:
    """Holds the calls that match, each until the gate is opened or its calls are dropped."""

    match: Match
    _loop: asyncio.AbstractEventLoop
    _remove: Callable[[Gate], None]
    _reached: threading.Event = field(default_factory=threading.Event)
    _held: list[tuple[Call, asyncio.Future[bool]]] = field(default_factory=list)

    def wait(self, within: float = 60.0) -> Call:
        """Returns the first call that was held.

        Raises:
            AssertionError: none came in time.
        """
        assert self._reached.wait(within), f"no call was held within {within} s"
        return self._held[0][0]

    @property
    def held(self) -> list[Call]:
        """The calls held so far."""
        return [call for call, _ in self._held]

    def open(self) -> None:
        """Lets the held calls through, and all later ones."""
        self._end(forward=True)

    def drop(self) -> None:
        """Cuts the connections of the held calls, which never reach AWS; later ones go through."""
        self._end(forward=False)

    def _end(self, *, forward: bool) -> None:
        self._remove(self)

        def end() -> None:
            for _, future in self._held:
                if not future.done():
                    future.set_result(forward)

        self._loop.call_soon_threadsafe(end)

    async def pass_through(self, call: Call) -> bool:
        """Returns whether a call may go on, once that is decided."""
        future = self._loop.create_future()
        self._held.append((call, future))
        self._reached.set()
        allowed: bool = await future
        return allowed


@dataclass(eq=False)
class _Rule:
    match: Match
    seconds: float = 0.0
    status: int | None = None
    code: str = ""
    lose: bool = False
    left: int | None = None


class FaultProxy:
    """An HTTP proxy in front of one AWS endpoint; without orders it changes nothing.

    Use as a context manager, and give `url` to the processes as `AWS_ENDPOINT_URL`.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = URL(upstream)
        self._rules: list[_Rule] = []
        self._gates: list[Gate] = []
        self._session: aiohttp.ClientSession | None = None
        self._server = ThreadedServer(self._application)
        self.calls: list[Call] = []
        """Every call so far, in order of arrival; bodies of objects left out."""

    @property
    def url(self) -> str:
        """The address to use instead of AWS's."""
        return self._server.url

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for gate in tuple(self._gates):
            gate.drop()
        self._server.__exit__(*error)

    def hold(self, match: Match) -> Gate:
        """Holds each matching call from now on; the answer tells when one came, and lets them go."""
        gate = Gate(match, self._server.loop, self._gates.remove)
        self._gates.append(gate)
        return gate

    def freeze(self) -> Gate:
        """Holds everything, as a frozen AWS would: connections are accepted and stay silent."""
        return self.hold(everything)

    def answer(self, match: Match, status: int = 503, *, times: int | None = None) -> None:
        """Answers matching calls with an error of that status, for so many `times` (None: until `heal`)."""
        self._rules.append(_Rule(match, status=status, left=times))

    def expire_credentials(self) -> None:
        """Answers everything as AWS does to a token that has expired, until `heal`: LocalStack never looks at them."""
        self._rules.append(_Rule(lambda call: call.service == "s3", status=400, code="ExpiredToken"))
        self._rules.append(_Rule(lambda call: call.service == "sns", status=403, code="ExpiredToken"))
        self._rules.append(_Rule(lambda call: call.service == "sqs", status=400, code="ExpiredTokenException"))

    def delay(self, match: Match, seconds: float, *, times: int | None = None) -> None:
        """Lets matching calls wait for some seconds before they go on."""
        self._rules.append(_Rule(match, seconds=seconds, left=times))

    def lose_answer(self, match: Match, *, times: int | None = 1) -> None:
        """Lets matching calls reach AWS, and cuts the connection instead of answering: was it done or not?"""
        self._rules.append(_Rule(match, lose=True, left=times))

    def heal(self) -> None:
        """Forgets every order of `answer`, `delay` and `lose_answer`."""
        self._rules.clear()

    async def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)

        async def session(_: web.Application) -> object:
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=60)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
            yield
            await self._session.close()

        application.cleanup_ctx.append(session)  # type: ignore[arg-type]
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        call = _identify(request, body)
        self.calls.append(call if call.service != "s3" else Call(call.service, call.operation, call.resource, b""))
        lose = False
        for rule in self._rules:
            if rule.left == 0 or not rule.match(call):
                continue
            if rule.left is not None:
                rule.left -= 1
            await asyncio.sleep(rule.seconds)
            if rule.status is not None:
                return _error(call, rule.status, rule.code or "ServiceUnavailable")
            lose = lose or rule.lose
        for gate in tuple(self._gates):
            if gate.match(call) and not await gate.pass_through(call):
                return _cut(request)
        answer = await self._forward(request, body)
        return _cut(request) if lose else answer

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        assert self._session is not None
        # The path goes on as it came: a key's percent escapes are part of it.
        url = URL(f"{self._upstream}".rstrip("/") + request.raw_path, encoded=True)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP}
        async with self._session.request(
            request.method,
            url,
            # aiohttp warns of large bodies that are plain bytes.
            data=io.BytesIO(body) if body else None,
            headers=headers,
            allow_redirects=False,
            skip_auto_headers=("Content-Type",),
        ) as answer:
            content = await answer.read()
        response = web.Response(status=answer.status, body=content if request.method != "HEAD" else None)
        response.headers.clear()
        for key, value in answer.headers.items():
            if key.lower() not in _HOP_BY_HOP and (request.method == "HEAD" or key.lower() != "content-length"):
                response.headers.add(key, value)
        return response


def _cut(request: web.Request) -> web.Response:
    """Ends the connection; what is returned reaches nobody."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)


def _identify(request: web.Request, body: bytes) -> Call:
    """Returns what a request asks of AWS: SQS speaks JSON with a target header, SNS forms, S3 paths."""
    target = request.headers.get("X-Amz-Target", "")
    if target:
        return Call("sqs", target.rpartition(".")[2], "", body)
    if request.content_type == "application/x-www-form-urlencoded":
        form = parse_qs(body.decode(errors="replace"))
        return Call("sns", form.get("Action", ["?"])[0], "", body)
    return Call("s3", _S3_OPERATIONS.get(request.method, request.method), request.path.lstrip("/"), body)


def _error(call: Call, status: int, code: str) -> web.Response:
    """Returns an answer as the service itself gives it when it is in that trouble."""
    if call.service == "sqs":
        text = f'{{"__type": "com.amazonaws.sqs#{code}", "message": "ordered by the test"}}'
        return web.Response(status=status, text=text, content_type="application/x-amz-json-1.0")
    error = f"<Code>{code}</Code><Message>ordered by the test</Message>"
    text = (
        f"<Error>{error}</Error>" if call.service == "s3" else f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
    )
    return web.Response(status=status, text=text, content_type="text/xml")

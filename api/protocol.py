"""HTTP/1.1 as uvicorn reads it, within limits of size and time; what is no HTTP is refused in our shape.

uvicorn and llhttp bound neither the length of a request's head nor the time that it takes to come.
"""

from __future__ import annotations

import re
import sys
from enum import Enum, auto
from typing import Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.body import SLOWEST
from api.errors import ApiError
from contract.origins import ANY

MAX_TARGET: Final = 8 * 1024
"""Bytes of a request's address (RFC 9112, section 3, recommends that 8,000 are taken)."""

MAX_HEAD: Final = 64 * 1024
"""Bytes of all headers together."""

MAX_HEADERS: Final = 100

HEAD_SECONDS: Final = 20
"""From a request's first byte to the end of its headers."""

_LINGER_SECONDS: Final = 3
_LINGER_BYTES: Final = 1024 * 1024
"""How long, and how much, is still read and forgotten after a refusal: who is cut off while he sends never sees the
answer (RFC 9112, section 9.6)."""

_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
"""RFC 9110, section 7.2, and RFC 3986, section 3.2.2."""

_UNREADABLE: Final = ApiError(
    400, "invalid_http", "this is not HTTP/1.1, or its address holds characters that must be percent-encoded"
)
_NO_HOST: Final = ApiError(400, "invalid_http", "an HTTP/1.1 request has exactly one Host header (RFC 9112, 3.2)")
_FRAMING: Final = ApiError(400, "invalid_http", "the chunks of the body are too small, or their extensions too long")
_LONG_TARGET: Final = ApiError(414, "address_too_long", f"the address must be at most {MAX_TARGET} bytes")
_LONG_HEAD: Final = ApiError(
    431,
    "headers_too_large",
    f"the headers must be at most {MAX_HEADERS}, of {MAX_HEAD // 1024} KiB together",
    details={"headers": MAX_HEADERS, "bytes": MAX_HEAD},
)
_SLOW_HEAD: Final = ApiError(408, "request_too_slow", f"the request's headers did not come within {HEAD_SECONDS} s")
_SLOW_BODY: Final = ApiError(
    408,
    "body_too_slow",
    f"the body did not come within REQUEST_SECONDS, and one second more for each {SLOWEST // 1024} KiB; send it again",
)

_VERSIONS: Final = {"1.0", "1.1"}
_REASONS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
}


class _RefusedError(Exception):
    """Raised from within the parser, which then stops."""


class _Awaited(Enum):
    """What of a request has to come next."""

    BEGIN = auto()
    HEAD = auto()
    BODY = auto()


class Protocol(HttpToolsProtocol):
    """One connection.

    A client may offer to go on in another protocol (`Upgrade: h2c`: Java's HttpClient and `curl --http2` do so with the
    first request of each connection), and a server may pass over that (RFC 9110, section 7.8). httptools cannot: it
    takes such a request's body for the other protocol's. So the request is read again without the offer.
    """

    request_seconds = 60.0
    """In which a body must have come; each `SLOWEST` bytes give one more."""

    allowed_origins: tuple[str, ...] = ()
    """Whose pages may read a refusal; the application says so of its own answers (`api/cors.py`)."""

    _chunk = b""
    _again = b""
    _awaited = _Awaited.BEGIN
    _since = -1.0
    """When this began to be awaited, by the event loop's clock; negative: not noted yet."""
    _head = 0
    """Bytes that came after those with which the request began, and have not completed its head."""
    _raw = 0
    """The same for its body: bytes with all framing."""
    _body = 0
    _refusal: ApiError | None = None
    _lingering = 0
    """Bytes that are still read and forgotten; 0: this connection is not about to close."""

    def data_received(self, data: bytes) -> None:
        """Reads what the client has sent."""
        if self._lingering:
            self._lingering -= len(data)
            if self._lingering <= 0:
                self.transport.abort()
            return
        while data:
            self._chunk, self._again = data, b""
            # Each request has a list of its own.
            headers, awaited = self.headers, self._awaited
            super().data_received(data)
            if headers is self.headers and awaited is self._awaited:
                self._count(len(data))
            data = self._again
        self._chunk = b""

    def _count(self, size: int) -> None:
        """Counts what has completed nothing: more of a head, or of a body."""
        if self._awaited is _Awaited.HEAD:
            # The parser puts an address or a header together anew with each piece of it.
            self._head += size
            if not self.headers and len(self.url) > MAX_TARGET:
                self._refuse(_LONG_TARGET)
            elif self._head > MAX_HEAD:
                self._refuse(_LONG_HEAD)
        elif self._awaited is _Awaited.BODY:
            self._raw += size
            if self._raw > MAX_HEAD + 2 * self._body:
                self._refuse(_FRAMING)

    def check_time(self, now: float, idle_seconds: float) -> None:
        """Hangs up when the client has had its time; to be called about once a second.

        Args:
            now: of the event loop's clock.
            idle_seconds: that a connection may be open without a request.
        """
        if self._since < 0 or (self.flow is not None and self.flow.read_paused):
            # While we do not read, the client's time does not run.
            self._since = now
            return
        waited = now - self._since
        answering = self.cycle is not None and not self.cycle.response_complete
        if self._lingering:
            if waited > _LINGER_SECONDS:
                self.transport.abort()
        elif self._awaited is _Awaited.HEAD:
            if waited > HEAD_SECONDS:
                self._refuse(_SLOW_HEAD)
        elif self._awaited is _Awaited.BODY:
            if waited > self.request_seconds + self._raw / SLOWEST:
                self._refuse(_SLOW_BODY)
        elif answering:
            self._since = now
        elif waited > idle_seconds:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._awaited, self._since, self._head = _Awaited.HEAD, -1.0, 0

    def on_headers_complete(self) -> None:
        """Begins with the request."""
        headers = self.headers
        if len(self.url) > MAX_TARGET:
            self._stop(_LONG_TARGET)
        if len(headers) > MAX_HEADERS or sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD:
            self._stop(_LONG_HEAD)
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            self._stop(_UNREADABLE)
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 and (hosts or version == "1.1"):
            self._stop(_NO_HOST)
        if hosts and not _HOST.fullmatch(hosts[0]):
            self._stop(_NO_HOST)
        self._awaited, self._since, self._raw, self._body = _Awaited.BODY, -1.0, 0, 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Reads a part of the body."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come."""
        self._awaited, self._since = _Awaited.BEGIN, -1.0
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Asked only where a client offers another protocol: whether `handle_websocket_upgrade` is to take over."""
        return self.parser.get_method() != b"CONNECT"

    def handle_websocket_upgrade(self) -> None:
        """Has the request read again without the offer, but not from within this reading: many may come at once."""
        upgrade = sys.exception()
        assert isinstance(upgrade, httptools.HttpParserUpgrade)
        rest = self._chunk[upgrade.args[0] :]
        version = self.parser.get_http_version().encode()
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", version, b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn's: what follows a request that is the connection's last spoils its answer otherwise.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._again = b"".join([*head, b"\r\n", rest])

    def send_400_response(self, msg: str) -> None:
        """Answers what is no HTTP, and hangs up."""
        self._refuse(self._refusal or _UNREADABLE)

    def shutdown(self) -> None:
        """The server ends."""
        if self._lingering:
            self.transport.close()
        else:
            super().shutdown()

    def _stop(self, refusal: ApiError) -> None:
        self._refusal = refusal
        raise _RefusedError

    def _refuse(self, refusal: ApiError) -> None:
        """Answers with an error, unless an answer has begun, and hangs up."""
        if self._lingering or self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.response_started:
            # Its application hears that the client has gone.
            cycle.disconnected = True
            cycle.message_event.set()
        elif cycle is not None and (self._awaited is _Awaited.BODY or not cycle.response_complete):
            # This request has been answered, or is just being answered.
            self.transport.close()
            return
        answer = refusal.answer()
        lines = [b"HTTP/1.1 %d %s" % (refusal.status, _REASONS[refusal.status]), b"connection: close"]
        lines += [b"%s: %s" % header for header in answer.raw_headers]
        lines += self._for_pages()
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.write_eof()
        self._lingering, self._since = _LINGER_BYTES, -1.0
        self.flow.resume_reading()

    def _for_pages(self) -> list[bytes]:
        """Returns the headers with which a browser shows a refusal to a page of an origin that is allowed."""
        if not self.allowed_origins:
            return []
        # A head that is refused may not have come as far as its origin: then it is for the first one's pages.
        sent = next((value.decode("latin-1") for name, value in self.headers or () if name == b"origin"), None)
        origin = ANY if ANY in self.allowed_origins else sent or self.allowed_origins[0]
        allowed = [b"access-control-allow-origin: " + origin.encode()] if origin in self.allowed_origins else []
        return [*allowed, b"vary: Origin"]

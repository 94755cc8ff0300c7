"""HTTP/1.1 as uvicorn reads it; but offers of another protocol are passed over, and no HTTP is refused in our shape."""

from __future__ import annotations

import sys

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.errors import ApiError

_UNREADABLE = ApiError(
    400,
    "invalid_http",
    "this is not HTTP/1.1, or its address is too long, or holds characters that must be percent-encoded",
).answer()


class Protocol(HttpToolsProtocol):
    """One connection.

    A client may offer to go on in another protocol (`Upgrade: h2c`: Java's HttpClient and `curl --http2` do so with the
    first request of each connection), and a server may pass over that (RFC 9110, section 7.8). httptools cannot: it
    takes such a request's body for the other protocol's. So the request is read again without the offer.
    """

    _chunk = b""
    _again = b""

    def data_received(self, data: bytes) -> None:
        """Reads what the client has sent."""
        while data:
            self._chunk, self._again = data, b""
            super().data_received(data)
            data = self._again
        self._chunk = b""

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
        lines = [b"HTTP/1.1 400 Bad Request", b"connection: close"]
        lines += [b"%s: %s" % header for header in _UNREADABLE.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(_UNREADABLE.body)]))
        self.transport.close()

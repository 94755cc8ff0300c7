"""Hostile heads: too long, too many, ambiguous, of another protocol; hosts, methods, paths and smuggling among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.attack.wire import CLOSED, Place, head

REFUSED: Final = frozenset({400, 403, 404, 405, 408, 411, 413, 414, 415, 417, 431, 501})
KIB: Final = 1024


@dataclass(frozen=True)
class Attempt:
    """One thing to send, and the statuses that are right."""

    group: str
    what: str
    pieces: tuple[bytes, ...]
    right: frozenset[int]
    most: int = 1
    """Answers over the connection: one more would be to a request that was smuggled in."""


def heads(place: Place) -> Iterator[Attempt]:
    """Yields heads that are too long, too many or malformed."""
    host = f"Host: {place.authority}\r\n".encode()
    get = b"GET /healthz HTTP/1.1\r\n" + host
    chunked = (
        b"POST /v1/tasks HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    )

    def one(what: str, *pieces: bytes, right: set[int] | None = None) -> Attempt:
        return Attempt("heads", what, pieces, frozenset(right) if right else REFUSED)

    long = (b"a" * 64 * KIB,)
    # Whoever goes on after the answer is cut off at last, and may then never read it.
    yield one("a header of 80 MiB", get + b"X-A: ", *long * 1280, right={431, CLOSED})
    yield one("1,000,000 headers", get, *[b"X-A: a\r\n" * 10_000] * 100, b"\r\n", right={431})
    yield one("a header's name of 8 MiB", get, *long * 128, right={400, 431})
    yield one("an address of 8 MiB", b"GET /", *long * 128, right={414})
    yield one("a method of 8 MiB", *long * 128, right={400, 431})
    yield one("trailers of 8 MiB", chunked + b"\r\n0\r\nX-A: ", *long * 128, right={400, 401, 431})
    yield one("a chunk's extension of 8 MiB", chunked + b"\r\n1;", *long * 128, right={400, 401})
    yield one("1,000,000 chunks of one byte", chunked + b"\r\n", *[b"1\r\n \r\n" * 10_000] * 100, right={400, 401})
    yield one("no Host", b"GET /healthz HTTP/1.1\r\n\r\n", right={400})
    yield one("two Hosts", get + host + b"\r\n", right={400})
    for name in (b"evil.example", b"evil.example:8000", b"127.0.0.1.evil.example", b"localhost.evil.example", b"a,b"):
        yield one("another's Host", b"GET /v1/runtimes HTTP/1.1\r\nHost: %s\r\n\r\n" % name, right={400, 403})
    for name in (b"a b", b"a/b", b"a@127.0.0.1", b"http://127.0.0.1", b"a\x00b", b"\xff"):
        yield one("a Host that is none", b"GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n" % name, right={400, 403})
    for line in (b"X-A: a\x00b", b"X A: a", b"X-A : a", b": a", b"X-A: a\r\n b", b"\x00: a", b"X-A: a\rb", b"X-A"):
        # Of some of these a parser may make the best (RFC 9112, section 5); a 200 to /healthz does no harm.
        yield one("a malformed header", get + line + b"\r\nConnection: close\r\n\r\n", right={200, *REFUSED})
    for line in (
        b"GET /healthz",
        b"GET /healthz HTTP/9.9",
        b"GET /h\x00 HTTP/1.1",
        b"\x16\x03",
    ):
        yield one("a malformed request line", line + b"\r\n" + host + b"\r\n")
    yield one("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")


def smuggling(place: Place) -> Iterator[Attempt]:
    """Yields requests of which two readers might see two different lengths, with another request inside."""
    host = f"Host: {place.authority}\r\n".encode()
    inner = b"GET /healthz HTTP/1.1\r\n" + host + b"\r\n"
    begin = b"POST /healthz HTTP/1.1\r\n" + host + b"Connection: close\r\n"
    framings = (
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4",
        b"Content-Length: 0\r\nContent-Length: 40",
        b"Content-Length: 0, 40",
        b"Content-Length: +0",
        b"Content-Length: -1",
        b"Content-Length: 0x0",
        b"Content-Length: 99999999999999999999",
        b"Content-Length : 0",
        b"Content-Length: 0\r\n Transfer-Encoding: chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: \tchunked",
        b"Content-Length: 0\rTransfer-Encoding: chunked",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0",
    )
    for framing in framings:
        pieces = (begin + framing + b"\r\n\r\n0\r\n\r\n" + inner,)
        yield Attempt("smuggling", "two lengths for one body", pieces, REFUSED | {CLOSED})
    for size in (b"ffffffffffffffffff", b"-1", b"0x0", b"+0", b"0 ", b"0\x0b", b""):
        pieces = (begin + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n\r\n" + inner,)
        yield Attempt("smuggling", "a chunk's size that is none", pieces, REFUSED | {CLOSED})


def methods_and_paths(place: Place) -> Iterator[Attempt]:
    """Yields methods and paths that no route has, and some that look like another."""
    for method in ("TRACE", "CONNECT", "PUT", "PATCH", "PROPFIND", "PURGE", "get", "DELETE", "OPTIONS", "M-SEARCH"):
        yield Attempt("methods", "a method that no route has", (head(method, "/healthz", place),), REFUSED)
    for path in (
        "/../../etc/passwd",
        "/static/../../settings.py",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/%2e%2e/app.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/index.html%00.png",
        "//evil.example/",
        "/%c0%ae%c0%ae/",
        "/healthz/../v1/tasks/a",
        "/v1/tasks/..%2f..%2fa",
        "/v1/tasks/%2e%2e",
        "/v1/tasks/%00",
        "/v1/tasks/" + "a" * 2000,
        "/v1/tasks/" + "%f0%9f%90%b6" * 300,
        "/V1/TASKS/a",
        "/v1/runtimes;/healthz",
        "/v1/runtimes%2f",
        "/v1/runtimes?x=/healthz",
        "/metrics/../v1/runtimes",
        "http://evil.example/v1/runtimes",
    ):
        yield Attempt("paths", "another's file, or a way around the key", (head("GET", path, place),), REFUSED | {401})

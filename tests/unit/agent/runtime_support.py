"""What the tests of links and runtimes share: small files, servers on loopback, and names that resolve as told."""

from __future__ import annotations

import asyncio
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from agent.inputs import InputSource
from agent.inputs.fetch import Budget, Fetcher, Limits
from agent.runtimes import Runtime, make_runtime, open_session
from agent.runtimes.allowance import MOST_BYTES
from agent.runtimes.base import Answer, Arriving
from contract.task import RuntimeType


def png(width: int = 8, height: int = 8, pad: int = 0) -> bytes:
    """A grey PNG; `pad` more bytes in a private chunk make it as large as a test needs."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\x00" + b"\x80" * width) * height
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        + (chunk(b"prVt", bytes(pad)) if pad else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


async def whole(answer: Answer | Arriving) -> Answer:
    """Returns what a run gave, its rest read."""
    return answer if isinstance(answer, Answer) else await answer.read()


@asynccontextmanager
async def adapter_of(
    kind: RuntimeType,
    url: str,
    inputs: InputSource | None = None,
    *,
    dynamic: bool = False,
    most_bytes: int = MOST_BYTES,
) -> AsyncIterator[Runtime]:
    """The adapter of a type of runtime, for the server that listens there."""
    async with open_session() as session:
        runtime = make_runtime(kind, url, session, inputs or Links(), dynamic, most_bytes=most_bytes)
        yield runtime
        await runtime.close()


async def cancel(run: asyncio.Task[Any]) -> None:
    """Cancels a run, and waits until its adapter lets the cancellation through."""
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


type Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def web_server(handler: Handler) -> AsyncIterator[str]:
    """Serves every path with one handler on loopback; gives the origin."""
    server = web.Server(handler)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def drop_posts(request: web.BaseRequest) -> web.StreamResponse:
    """Closes the connection of every POST, and answers anything else: a handler of `web_server`."""
    if request.method == "POST":
        assert request.transport is not None
        request.transport.close()
    return web.json_response({})


def names(table: Mapping[str, str | Sequence[str]]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A DNS that knows these names only."""

    async def resolve(host: str, port: int) -> list[str]:
        if host not in table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        found = table[host]
        return [found] if isinstance(found, str) else list(found)

    return resolve


async def no_dns(host: str, port: int) -> list[str]:
    """A DNS that must not be asked."""
    raise AssertionError(f"resolved {host}")


def fetcher_for(origins: Iterable[str], limits: Limits | None = None) -> Fetcher:
    """A fetcher that may read from these loopback origins."""
    return Fetcher(limits or Limits(), frozenset(origins), no_dns)


async def fetch(fetcher: Fetcher, link: str) -> bytes:
    """Fetches one link with a budget of its own."""
    return await fetcher.fetch(link, Budget(fetcher.limits.bytes_per_task))


class Links:
    """An input source that knows its links by heart, and remembers what it was asked for."""

    def __init__(self, **known: bytes) -> None:
        self.known = known
        self.asked: list[str] = []

    async def fetch_all(
        self, links: Iterable[str], *, tenant: str = "", of_any_kind: Collection[str] = ()
    ) -> dict[str, bytes]:
        wanted = list(links)
        self.asked += wanted
        await asyncio.sleep(0)
        return {link: self.known.get(link.strip().rpartition("/")[2].partition(".")[0], png()) for link in wanted}

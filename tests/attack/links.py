"""Links to a server that nothing may reach, in many spellings; that server notes who comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Canary:
    """A server on loopback."""

    port: int = 0
    hits: int = 0


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """Serves an image to everybody who comes, and counts them."""
    found = Canary()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.hits += 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


def spellings(port: int) -> list[str]:
    """Returns addresses of the loopback interface as links."""
    hosts = [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0",
        "0.0.0.0", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "a.localhost", "[::1]", "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[64:ff9b::7f00:1]", "[::1%25lo]", "①②⑦.⓪.⓪.①",
        "１２７.０.０.１", "127。0。0。1", "%31%32%37.0.0.1", "127.0.0.1%00.example.com", "user@127.0.0.1",
        "example.com@127.0.0.1", "127.0.0.1#@example.com", "127.0.0.1\\@example.com", "example.com\\@127.0.0.1",
        "127.127.127.127", "127.0.0.1\t", "\t127.0.0.1", "loc\talhost", "ⓛocalhost", "localhost%2e", "127.0.0.1;x",
    ]  # fmt: skip
    links = [f"http://{host}:{port}/a.png" for host in hosts]
    links += [
        f"{scheme}127.0.0.1:{port}/a.png" for scheme in ("https://", "HTTP://", "http:\\\\", "http:/", "http:///")
    ]
    links += [f"{scheme}://127.0.0.1:{port}/a.png" for scheme in ("ftp", "gopher", "file", "ws", "dict", "s3", "data")]
    return links

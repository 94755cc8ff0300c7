"""HTTP by hand: what no client library would send, and what comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")

CLOSED: Final = 0
"""Instead of a status: the connection was closed without an answer."""

OPEN: Final = -1
"""Instead of a status: there was no answer, and the connection stayed open."""


@dataclass(frozen=True)
class Place:
    """Where to send to."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """As `Host` has it."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """All that came back over one connection."""

    raw: bytes
    ended: bool
    """The server has closed the connection."""

    @property
    def statuses(self) -> list[int]:
        """The status of each answer, `CLOSED` or `OPEN` when there was none."""
        found = [int(status) for status in _STATUS.findall(self.raw) if status != b"100"]
        return found or [CLOSED if self.ended else OPEN]

    @property
    def status(self) -> int:
        """The first of them."""
        return self.statuses[0]

    def error(self) -> Any:
        """The first answer's error, if it is in the API's one shape; None otherwise."""
        try:
            return json.loads(self.raw.partition(b"\r\n\r\n")[2])["error"]
        except (ValueError, KeyError, TypeError):
            return None


async def exchange(
    place: Place, pieces: Iterable[bytes], *, pause: float = 0, within: float = 30, quiet: float = 0
) -> Answer:
    """Sends pieces as long as the server takes them, and returns what it answers until it closes the connection.

    Args:
        place: the server.
        pieces: one after the other.
        pause: seconds between them.
        within: seconds for it all.
        quiet: end after so many seconds without an answer, too; 0: do not.
    """
    reader, writer = await asyncio.open_connection(place.host, place.port)
    raw, ended = bytearray(), False

    async def read() -> None:
        nonlocal ended
        try:
            while True:
                async with asyncio.timeout(quiet or None):
                    piece = await reader.read(65536)
                if not piece:
                    break
                raw.extend(piece)
        except TimeoutError:
            return
        except ConnectionError:
            pass
        ended = True

    async def write() -> None:
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if pause:
                    await asyncio.sleep(pause)
        except ConnectionError:
            pass

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(within):
            await read()
    except TimeoutError:
        pass
    finally:
        writing.cancel()
        writer.transport.abort()
    return Answer(bytes(raw), ended)


def head(method: str, path: str, place: Place, **headers: str) -> bytes:
    """Returns the head of a request that closes its connection; `_` in a header's name stands for `-`."""
    lines = {"Host": place.authority, "Connection": "close"}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *_lines(lines), b"", b""])


def post(path: str, place: Place, body: bytes, **headers: str) -> list[bytes]:
    """Returns a request with a JSON body."""
    begin = head("POST", path, place, Content_Type="application/json", Content_Length=str(len(body)), **headers)
    return [begin, body]


def _lines(headers: dict[str, str]) -> list[bytes]:
    return [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]

"""Asks a process whether it is ready, with next to no cost: while a stack starts, each process is asked many times."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

TIMEOUT: Final = 5.0
"""Seconds for one question."""


async def answers_ok(port: int, path: str) -> bool:
    """Returns whether `GET path` on 127.0.0.1 is answered with status 200."""
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            status_line = await reader.readline()
    except (OSError, TimeoutError, ValueError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    return status_line.split(b" ")[1:2] == [b"200"]

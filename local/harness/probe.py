"""Asks a process whether it is ready, with next to no cost: while a stack starts, each process is asked many times."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

TIMEOUT: Final = 5.0
"""Seconds for one question."""

_UNCHECKED: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_UNCHECKED.check_hostname = False
_UNCHECKED.verify_mode = ssl.CERT_NONE


async def answers_ok(port: int, path: str, *, host: str = "127.0.0.1", secure: bool = False) -> bool:
    """Returns whether `GET path` is answered with status 200.

    Args:
        port: of the server.
        path: that is asked for.
        host: an address of this machine.
        secure: whether it speaks TLS. Whose certificate it has is not checked, since nothing is told to it.
    """
    writer = None
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port, ssl=_UNCHECKED if secure else None)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
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

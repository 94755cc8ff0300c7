"""Starts and ends a server by its command line, for the cases that are about that."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from asyncio.subprocess import DEVNULL, Process
from typing import Final

_GRACE: Final = 120.0
"""Seconds: SD Web UI first answers what it has taken."""


class CommandLine:
    """A server that a command line starts; its output is thrown away.

    Args:
        command: as in a shell, without a shell's own syntax.
    """

    def __init__(self, command: str) -> None:
        self._arguments = shlex.split(command)
        self._process: Process | None = None

    async def start(self) -> None:
        """See `Owner`.

        Raises:
            OSError: it cannot be started.
        """
        # A group of its own: what the command starts is ended with it.
        self._process = await asyncio.create_subprocess_exec(
            *self._arguments, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
        )

    async def terminate(self) -> None:
        """See `Owner`. SIGKILL follows when it does not end."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(_GRACE):
                await process.wait()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

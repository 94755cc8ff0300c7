"""Starts and ends a server by its command line, for the cases that are about that; signals leave none behind."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

_GRACE: Final = 120.0
"""Seconds: SD Web UI first answers what it has taken."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandError(Exception):
    """The command line of `--start` is none."""


class StoppedError(Exception):
    """A signal came; `number` is its."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run_until_signalled[T](work: Coroutine[Any, Any, T]) -> T:
    """Runs something to its end; a signal cancels it, so that it can clean up, and another one cancels that, too.

    Raises:
        StoppedError: it was cancelled.
    """
    came: list[int] = []

    async def watched() -> T:
        task, loop = asyncio.create_task(work), asyncio.get_running_loop()

        def stop(number: int) -> None:
            came.append(number)
            task.cancel()

        for number in _SIGNALS:
            loop.add_signal_handler(number, stop, number)
        return await task

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise StoppedError(came[0]) from None


class CommandLine:
    """A server that a command line starts; its output is thrown away.

    Args:
        command: as in a shell, without a shell's own syntax.

    Raises:
        CommandError: a quote in it is not closed.
    """

    def __init__(self, command: str) -> None:
        self._process: Process | None = None
        try:
            self._arguments = shlex.split(command)
        except ValueError as error:
            raise CommandError(f"--start {command}: {error}") from error

    async def start(self) -> None:
        """See `Owner`.

        Raises:
            CommandError: it cannot be started.
        """
        # A group of its own: what the command starts is ended with it.
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._arguments, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
            )
        except OSError as error:
            raise CommandError(f"--start: {error}") from error

    @property
    def status(self) -> int | None:
        """With which status the process ended by itself; None while it runs, and when it was not started."""
        return None if self._process is None else self._process.returncode

    async def terminate(self) -> None:
        """See `Owner`. SIGKILL follows when it does not end in time, and at once when this is cancelled."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        os.killpg(process.pid, signal.SIGTERM)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await process.wait()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

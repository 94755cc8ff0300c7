"""Processes of the real programs: started with an environment of their own, awaited by URL, always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import httpx

from tests.support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
READY_WITHIN: Final = 30.0
"""Seconds; one or two are usual, but two cores may be shared with many others."""


class Process:
    """One program of the project, run as `python -m MODULE`; its output goes to a file.

    Args:
        name: for its log and for messages.
        module: such as `agent`.
        folder: of its log.
        environment: all that the process has beside `PATH`, so that no variable of the caller leaks in.
        arguments: of the command line.
        ready_url: answers 200 once the process is ready; empty when there is nothing to ask.
    """

    def __init__(
        self,
        name: str,
        module: str,
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        ready_url: str = "",
    ) -> None:
        self.name = name
        self.ready_url = ready_url
        self.log = folder / f"{name}.log"
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=ROOT,
                env={**kept, "PYTHONUNBUFFERED": "1", **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    def is_alive(self) -> bool:
        """Returns whether the process runs (or is frozen)."""
        return self._popen.poll() is None

    def wait_ready(self, within: float = READY_WITHIN) -> Self:
        """Returns itself once its URL answers 200.

        Raises:
            AssertionError: it has ended, or does not answer in time; the text has the end of its log.
        """

        def ready() -> bool:
            if not self.is_alive():
                raise RuntimeError(f"{self.name} has ended with status {self._popen.returncode}:\n{self.tail()}")
            return answers(self.ready_url)

        try:
            eventually(ready, within=within)
        except RuntimeError as error:
            raise AssertionError(str(error)) from error
        except AssertionError as error:
            raise AssertionError(f"{self.name} is not ready after {within} s:\n{self.tail()}") from error
        return self

    def kill(self) -> None:
        """Ends the process as a lost machine does (SIGKILL)."""
        self._popen.kill()
        self._popen.wait(10)

    def terminate(self) -> None:
        """Asks the process to end (SIGTERM); does not wait."""
        self._popen.terminate()

    def freeze(self) -> None:
        """Stops the process in its tracks (SIGSTOP) until `thaw`."""
        self._popen.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen process go on (SIGCONT)."""
        self._popen.send_signal(signal.SIGCONT)

    def wait_ended(self, within: float) -> tuple[int, float]:
        """Returns the exit status, and how many seconds it took from now on.

        Raises:
            AssertionError: it still runs after `within` seconds.
        """
        begin = time.monotonic()
        try:
            status = self._popen.wait(within)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"{self.name} still runs after {within} s:\n{self.tail()}") from error
        return status, time.monotonic() - begin

    def stop(self) -> None:
        """Ends the process, whatever state it is in."""
        if self.is_alive():
            self.kill()

    def text(self) -> str:
        """Returns all that it has written."""
        return self.log.read_text(errors="replace")

    def tail(self, lines: int = 40) -> str:
        """Returns the last lines that it has written, each cut to a readable length."""
        return "\n".join(line[:1000] for line in self.text().splitlines()[-lines:])


def answers(url: str) -> bool:
    """Returns whether a URL answers 200 now."""
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False

"""Processes of the real programs: started with an environment of their own, awaited by URL, always ended.

Importing what a program needs takes a second of processor time, and these tests start programs by the hundred. So they
are forked from a server that has imported it all (`multiprocessing`'s fork server), and then run `python -m MODULE` in
every other respect: own process group, own environment, own arguments, `__main__` executed, signals and exit status as
usual. That the plain command lines work too is shown where `nox -s up` is tested.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Final, Self

import httpx

from tests.support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
READY_WITHIN: Final = 60.0
"""Seconds; less than one is usual, but the processors may be shared with many others."""

_PRELOADED: Final = ["api.app", "api.server", "agent.application", "fake_runtime.app", "uvloop", "pytest", "httpx"]


@cache
def _fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_PRELOADED, __name__])
    return context


def _become(module: str, arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Turns a forked process into `python -m module`."""
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # found anew, by that environment
    os.chdir(ROOT)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Process:
    """One program of the project; its output goes to a file.

    Args:
        name: for its log and for messages.
        module: such as `agent`.
        folder: of its log and its temporary files.
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
        self.log.touch()
        # A process that is killed cannot tidy up after itself; the folder of its test goes in any case.
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ} | {
            "TMPDIR": str(folder.absolute())
        }
        self._process = _fork_server().Process(
            target=_become, args=(module, list(arguments), kept | dict(environment or {}), str(self.log)), name=name
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def is_alive(self) -> bool:
        """Returns whether the process runs (or is frozen)."""
        return self._process.is_alive()

    def wait_ready(self, within: float = READY_WITHIN) -> Self:
        """Returns itself once its URL answers 200.

        Raises:
            AssertionError: it has ended, or does not answer in time; the text has the end of its log.
        """
        deadline = time.monotonic() + within

        def decided() -> bool:
            return not self.is_alive() or answers(self.ready_url) or time.monotonic() > deadline

        eventually(decided, within=within + 5)
        assert self.is_alive(), f"{self.name} has ended with status {self._process.exitcode}:\n{self.tail()}"
        assert answers(self.ready_url), f"{self.name} is not ready after {within} s:\n{self.tail()}"
        return self

    def kill(self) -> None:
        """Ends the process as a lost machine does (SIGKILL)."""
        self._process.kill()
        self._process.join(10)

    def terminate(self) -> None:
        """Asks the process to end (SIGTERM); does not wait."""
        self._process.terminate()

    def freeze(self) -> None:
        """Stops the process in its tracks (SIGSTOP) until `thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets a frozen process go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_ended(self, within: float) -> tuple[int, float]:
        """Returns the exit status, and how many seconds it took from now on.

        Raises:
            AssertionError: it still runs after `within` seconds.
        """
        begin = time.monotonic()
        self._process.join(within)
        status = self._process.exitcode
        assert status is not None, f"{self.name} still runs after {within} s:\n{self.tail()}"
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


@cache
def http() -> httpx.Client:
    """Returns the client that all tests share: each new one would read the certificates of the world."""
    return httpx.Client(verify=False, trust_env=False, timeout=30, limits=httpx.Limits(max_connections=None))


def answers(url: str) -> bool:
    """Returns whether a URL answers 200 now."""
    try:
        return http().get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False

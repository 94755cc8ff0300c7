"""Starts programs, and watches what they use of the processor and of memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import psutil

from local.folders import PROJECT
from tests.bench.statistics import Sample

_KEPT: Final = ("PATH", "HOME", "LANG")
_SAMPLE_INTERVAL: Final = 0.05
_CHILDREN_INTERVAL: Final = 1.0
_STOP_TIMEOUT: Final = 10.0
_ADDRESS: Final = re.compile(rb"http://127\.0\.0\.1:\d+")


class BenchError(Exception):
    """A measurement that cannot be made; the text says why."""


class Program:
    """A process of its own group, with its output in a file. It is sampled as long as it runs.

    Args:
        name: for its log and for messages.
        command: the words of its command line.
        folder: of its log and its temporary files.
        environment: all that it has beside `PATH` and the like.
    """

    def __init__(self, name: str, command: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.samples: list[Sample] = []
        self._command = list(command)
        self._log = folder / f"{name}.log"
        self._environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
        # A process that is killed cannot tidy up after itself; this folder goes in any case.
        self._environment |= {"TMPDIR": str(folder.absolute()), **environment}
        self._process: asyncio.subprocess.Process | None = None
        self._sampling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts it; does not wait until it is ready.

        Raises:
            BenchError: there is no such command.
        """
        with self._log.open("wb") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    cwd=PROJECT,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise BenchError(f"{self.name} cannot be started: {error}") from error
        self._sampling = asyncio.create_task(self._sample(self._process.pid))

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process is None or self._process.returncode is not None

    def check(self) -> None:
        """Makes sure that it runs.

        Raises:
            BenchError: it has ended; the text has its last words.
        """
        if self.ended:
            raise BenchError(f"{self.name} has ended; its last words: {self.last_words()} (log: {self._log})")

    def last_words(self) -> str:
        """Returns the last line that it has written."""
        lines = self._log.read_text(errors="replace").splitlines()
        return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "none")

    async def address(self, within: float = 30.0) -> str:
        """Returns the first address of this machine that it writes.

        Raises:
            BenchError: it ends, or writes none in time.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if found := _ADDRESS.search(self._log.read_bytes()):
                return found[0].decode()
            self.check()
            await asyncio.sleep(0.02)
        raise BenchError(f"{self.name} does not say where it listens; its last words: {self.last_words()}")

    async def terminate(self, within: float = _STOP_TIMEOUT) -> float:
        """Ends it (SIGTERM, in the end SIGKILL), and returns how many seconds that took."""
        process, began = self._process, time.monotonic()
        if process is None:
            return 0.0
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if self._sampling is not None:
            self._sampling.cancel()
            await asyncio.gather(self._sampling, return_exceptions=True)
        return time.monotonic() - began

    async def _sample(self, pid: int) -> None:
        """Samples the process and its children until it ends."""
        main = psutil.Process(pid)
        family, looked = [main], 0.0
        with contextlib.suppress(psutil.Error):
            while True:
                if time.monotonic() - looked > _CHILDREN_INTERVAL:
                    family, looked = [main, *main.children(recursive=True)], time.monotonic()
                cpu, rss = 0.0, 0
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        cpu += times.user + times.system
                        rss += process.memory_info().rss
                self.samples.append(Sample(time.time(), cpu, rss))
                await asyncio.sleep(_SAMPLE_INTERVAL)


@asynccontextmanager
async def running(program: Program) -> AsyncIterator[Program]:
    """Runs a program as long as the block lasts."""
    await program.start()
    try:
        yield program
    finally:
        await program.terminate()

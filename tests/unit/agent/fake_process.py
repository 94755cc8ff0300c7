"""A fake runtime as a process of its own, which a test may kill and start again on the same port."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import free_port

ROOT = Path(__file__).parents[3]


class FakeProcess:
    """One port, on which a fake runtime runs or does not."""

    def __init__(self, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "fake_runtime", "--port", str(self.port), *self._arguments, *more],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def gone(self) -> None:
        """Waits until the process has ended by itself."""
        assert self._process is not None
        await asyncio.to_thread(self._process.wait, 20)


@contextmanager
def fake_process(*arguments: str) -> Iterator[FakeProcess]:
    process = FakeProcess(*arguments)
    try:
        yield process
    finally:
        process.kill()

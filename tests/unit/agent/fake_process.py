"""A fake runtime as a process of its own, which a test may kill and start again on the same port."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Process
from tests.support.waiting import free_port


class FakeProcess:
    """One port, on which a fake runtime runs or does not."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._arguments = arguments
        self._process: Process | None = None

    def start(self, *more: str) -> None:
        arguments = ["--port", str(self.port), *self._arguments, *more]
        self._process = Process("fake", "fake_runtime", folder=self._folder, arguments=arguments)

    def kill(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    async def gone(self) -> None:
        """Waits until the process has ended by itself."""
        assert self._process is not None
        await asyncio.to_thread(self._process.wait_ended, 60)


@contextmanager
def fake_process(*arguments: str) -> Iterator[FakeProcess]:
    with tempfile.TemporaryDirectory() as folder:
        process = FakeProcess(Path(folder), *arguments)
        try:
            yield process
        finally:
            process.kill()

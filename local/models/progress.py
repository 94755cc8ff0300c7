"""How transfers tell how far they are, and the bars that show it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars


class StoppedError(Exception):
    """Ctrl-C came meanwhile; what was transferred stays, to be gone on with."""


class Progress(Protocol):
    """Where transfers tell how far they are; called from several threads."""

    def begin(self, key: str, doing: str, total: int) -> None:
        """A file of so many bytes is begun with, or begun with anew."""

    def advance(self, key: str, count: int) -> None:
        """So many bytes more are done."""

    def end(self, key: str) -> None:
        """It is over, well or not."""


class ShownProgress:
    """A bar for each file under way; nothing where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.fields[doing]} {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, key: str, doing: str, total: int) -> None:
        """See `Progress`."""
        self.end(key)
        self._tasks[key] = self._bars.add_task(key, total=total, doing=doing)

    def advance(self, key: str, count: int) -> None:
        """See `Progress`."""
        self._bars.advance(self._tasks[key], count)

    def end(self, key: str) -> None:
        """See `Progress`."""
        if (task := self._tasks.pop(key, None)) is not None:
            self._bars.remove_task(task)


@contextmanager
def ended(progress: Progress, key: str) -> Iterator[None]:
    """Ends a file's bar, however the block ends."""
    try:
        yield
    finally:
        progress.end(key)

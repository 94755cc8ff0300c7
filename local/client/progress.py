"""Shows in the terminal how tasks come along; apart from the tables, whose commands need not load this."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from darkroom import Task
from local.client.show import percent


class Progress:
    """A bar for each task, or a line for each change where there is no terminal.

    Args:
        hidden: nothing is shown.
    """

    def __init__(self, *, hidden: bool = False, console: Console | None = None) -> None:
        self._console = console or Console()
        self._hidden = hidden
        self._rows: dict[str, TaskID] = {}
        self._bars = (
            Bars(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[percent]}"),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
            )
            if self._console.is_terminal and not hidden
            else None
        )

    def __enter__(self) -> Self:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def show(self, task: Task) -> None:
        """Shows how a task stands now."""
        if self._hidden:
            return
        if self._bars is None:
            self._console.print(f"{task.id}: {task.status}{percent(task)}", highlight=False, markup=False)
            return
        if task.id not in self._rows:
            self._rows[task.id] = self._bars.add_task("submitted", total=None, percent="")
        share = 1.0 if task.succeeded else task.progress
        self._bars.update(
            self._rows[task.id],
            description=f"{task.id} on {task.runtime}: {task.status}",
            total=None if share is None else 1.0,
            completed=share or 0,
            percent=percent(task),
        )

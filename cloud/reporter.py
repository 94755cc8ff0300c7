"""Shows what a tool does: a line for each step with its time, a spinner where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.status import Status


class Reporter:
    """Writes to a console; one step is under way at a time."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._status: Status | None = None

    def say(self, text: str) -> None:
        """Writes a line."""
        self.console.print(text, markup=False)

    def show(self, what: RenderableType) -> None:
        """Writes a table or a picture."""
        self.console.print(what)

    def detail(self, text: str) -> None:
        """Tells how the step under way goes: beside the spinner, or as an indented line without a terminal."""
        if self._status is not None:
            self._status.update(text)
        else:
            self.say(f"  {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Names a step while it lasts, and says how long it took, or that it failed."""
        began = time.monotonic()
        if self.console.is_terminal:
            self._status = self.console.status(title)
            self._status.start()
        else:
            self.say(f"{title} …")
        try:
            yield
        except BaseException:
            self._end(f"✗ {title} (after {_seconds(began)})")
            raise
        self._end(f"✓ {title} ({_seconds(began)})")

    def _end(self, line: str) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
        self.say(line)


def _seconds(began: float) -> str:
    passed = time.monotonic() - began
    return f"{passed / 60:.1f} min" if passed >= 120 else f"{passed:.1f} s"

"""Shows what a tool does: a line for each step with its time, a spinner where there is a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text


class Reporter:
    """Writes to a console; a step may be part of another one."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._spinners: list[Status] = []

    def say(self, text: str) -> None:
        """Writes a line."""
        self.console.print(text, markup=False)

    def show(self, what: RenderableType) -> None:
        """Writes a table or a picture."""
        self.console.print(what)

    def detail(self, text: str) -> None:
        """Tells how the step under way goes: beside the spinner, or as an indented line without a terminal."""
        if self._spinners:
            self._spinners[-1].update(Text(text, no_wrap=True, overflow="ellipsis"))
        else:
            self.say(f"  {text}")

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Names a step while it lasts, and says how long it took, or that it failed."""
        began = time.monotonic()
        if not self.console.is_terminal:
            self.say(f"{title} …")
        try:
            with self._spinning(title):
                yield
        except BaseException:
            self.say(f"✗ {title} (after {_seconds(began)})")
            raise
        self.say(f"✓ {title} ({_seconds(began)})")

    @contextmanager
    def _spinning(self, title: str) -> Iterator[None]:
        """Spins where there is a terminal; that of the step around it rests meanwhile, as a terminal shows one only."""
        if not self.console.is_terminal:
            yield
            return
        outer = self._spinners[-1] if self._spinners else None
        if outer is not None:
            outer.stop()
        spinner = self.console.status(Text(title))
        self._spinners.append(spinner)
        spinner.start()
        try:
            yield
        finally:
            spinner.stop()
            self._spinners.pop()
            if outer is not None:
                outer.start()


def _seconds(began: float) -> str:
    passed = time.monotonic() - began
    return f"{passed / 60:.1f} min" if passed >= 120 else f"{passed:.1f} s"

"""Cuts a process's output into lines, and prints them with the name of the process in front."""

from __future__ import annotations

import codecs
import os
import signal
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

LONGEST: Final = 4000
"""Characters of a line that are shown."""

_COLOURS: Final = ("cyan", "magenta", "green", "yellow", "blue", "bright_cyan", "bright_magenta", "bright_green")
_OWN: Final = "up"


class LineSplitter:
    """Turns chunks of bytes into lines, however the chunks and the characters in them were torn."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        """Returns the lines that this chunk completes, without their ends."""
        *lines, self._rest = (self._rest + self._decoder.decode(chunk)).split("\n")
        if len(self._rest) > LONGEST:  # a line without end must not fill the memory
            lines.append(self._rest)
            self._rest = ""
        return [_shortened(line.rstrip("\r")) for line in lines]

    def end(self) -> list[str]:
        """Returns what is left when there is nothing more to come: a line, or none."""
        rest = self._rest + self._decoder.decode(b"", final=True)
        self._rest = ""
        return [_shortened(rest.rstrip("\r"))] if rest else []


def _shortened(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


class EndingConsole(Console):
    """A console that ends the program in order, as SIGTERM does, when nobody reads it any more (`up | head`)."""

    def on_broken_pipe(self) -> None:
        """Falls silent, and asks for the end; rich itself would raise SystemExit wherever a line is printed."""
        self.quiet = True
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        signal.raise_signal(signal.SIGTERM)


class Printer:
    """Prints the harness's own lines and those of its processes, names aligned, one colour each.

    Args:
        console: where to.
        names: of every process, for the width and the colours.
    """

    def __init__(self, console: Console, names: list[str]) -> None:
        self._console = console
        self._width = max((len(name) for name in [_OWN, *names]), default=0)
        self._styles = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}

    @property
    def in_terminal(self) -> bool:
        """Whether a person reads it, and no log."""
        return self._console.is_terminal

    def say(self, text: str, *, style: str = "bold") -> None:
        """Prints the harness's own words."""
        for line in text.splitlines():
            self._print(_OWN, "bold white", Text(line, style=style))

    def line(self, name: str, text: str) -> None:
        """Prints one line of a process, its own colours kept."""
        if text.strip():
            self._print(name, self._styles.get(name, "white"), Text.from_ansi(text))

    def plain(self, text: str) -> None:
        """Prints text as it is, with nothing in front, so that it can be copied."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _print(self, name: str, style: str, text: Text) -> None:
        prefix = Text(f"{name:<{self._width}} │ ", style=style)
        self._console.print(prefix + text, soft_wrap=True, highlight=False, markup=False)

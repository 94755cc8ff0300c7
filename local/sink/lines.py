"""What the other processes of a stack say: the harness passes it on, and the console shows what names a task."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from dataclasses import dataclass
from typing import IO, Final

MOST: Final = 20_000
"""Lines that are remembered, the newest."""

MOST_CHARACTERS: Final = 8_000_000
"""Of all of them together."""

MOST_SHOWN: Final = 500
"""Lines of one task that are told, the newest."""

_LONGEST: Final = 1 << 20
"""Bytes of a document; the harness cuts what a process says far below."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NAME: Final = r"[\w.:-]"
"""Characters of which ids are made: `cat` is not named where `cat-2` is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and who said it."""

    part: str
    line: str


class Lines:
    """The newest lines. For one event loop."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._characters = 0

    def add(self, line: Line) -> None:
        """Remembers a line, and forgets the oldest where there are too many."""
        self._lines.append(line)
        self._characters += len(line.line)
        while len(self._lines) > MOST or self._characters > MOST_CHARACTERS:
            self._characters -= len(self._lines.popleft().line)

    def about(self, task_id: str) -> list[Line]:
        """Returns the lines that name a task, the oldest first."""
        if not task_id:
            return []
        # A name may end a sentence.
        named = re.compile(rf"(?<!{_NAME}){re.escape(task_id)}(?![\w-]|[.:]\w)")
        return [line for line in self._lines if task_id in line.line and named.search(line.line)][-MOST_SHOWN:]

    async def hear(self, source: IO[bytes]) -> None:
        """Reads `{"part", "line"}`, a JSON document a line, until there is no more."""
        reader = asyncio.StreamReader(limit=_LONGEST)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        while text := await reader.readline():
            try:
                told = json.loads(text)
                self.add(Line(str(told["part"]), _COLOURS.sub("", str(told["line"]))))
            except (ValueError, KeyError, TypeError):
                continue

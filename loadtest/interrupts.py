"""What Ctrl-C means to a load test: that depends on how far it is, and the second one ends it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Self

import gevent

STATUS: Final = 128 + signal.SIGINT
"""The exit status of a test that was ended at once, or before its load began; as shells have it."""


class Interrupts:
    """Takes Ctrl-C and SIGTERM for as long as it is entered.

    Its handlers are Python's: gevent's are not heard while a report is drawn, when no greenlet gets its turn. Left to
    themselves, both would raise KeyboardInterrupt in whatever greenlet runs, or end the process before all is written.
    """

    def __init__(self) -> None:
        self._meaning: Callable[[], object] = _give_up
        self._before: list[tuple[signal.Signals, object]] = []
        self.heard = False
        """Whether there was one."""

    def __enter__(self) -> Self:
        """Takes them: until somebody says otherwise they raise KeyboardInterrupt in the main greenlet."""
        self._before = [(number, signal.signal(number, self._hear)) for number in (signal.SIGINT, signal.SIGTERM)]
        return self

    def __exit__(self, *_: object) -> None:
        """Gives them back."""
        for number, handler in self._before:
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def meaning(self, act: Callable[[], object]) -> Iterator[None]:
        """Lets the first one do this, and nothing more."""
        before, self._meaning = self._meaning, act
        try:
            yield
        finally:
            self._meaning = before

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Lets what is almost done be done: the first one changes nothing."""
        with self.meaning(lambda: None):
            yield

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            os._exit(STATUS)
        self.heard = True
        self._meaning()


class LocustInterrupt:
    """Ends Locust at Ctrl-C, as a handler of gevent's; at once the second time.

    Python would raise KeyboardInterrupt in whatever greenlet runs, such as the one that listens for callbacks, which
    the report still needs. Locust waits for it in the main greenlet.
    """

    def __init__(self) -> None:
        self._again = False

    def __call__(self) -> None:
        """Takes one Ctrl-C."""
        if self._again:
            os._exit(STATUS)
        self._again = True
        _give_up()


def _give_up() -> None:
    """Raises KeyboardInterrupt in the main greenlet, whichever one runs."""
    gevent.get_hub().handle_system_error(KeyboardInterrupt, KeyboardInterrupt())

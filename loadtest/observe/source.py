"""The interface of everything that the observer asks each second."""

from __future__ import annotations

from typing import Any, Protocol


class SourceError(Exception):
    """A source that did not answer this time; one line."""


class Source(Protocol):
    """Something to look at."""

    name: str
    every: float
    """Seconds between two looks; what comes in between is the last look's answer."""

    def look(self) -> dict[str, Any]:
        """Returns fields of a `Sample`.

        Raises:
            SourceError: it does not answer.
        """

"""Reads server-sent events (HTML Living Standard, section 9.2): lines in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    data: str
    identifier: str
    name: str = "message"


class EventReader:
    """Makes events of lines; comments and fields of no use here are passed over."""

    def __init__(self) -> None:
        self._data: list[str] = []
        self._name = ""
        self._identifier = ""

    def feed(self, line: str) -> Event | None:
        """Takes the next line; returns the event that it completes."""
        if not line:
            event = Event("\n".join(self._data), self._identifier, self._name or "message") if self._data else None
            self._data, self._name = [], ""
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "id":
            self._identifier = value
        elif field == "event":
            self._name = value
        return None


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yields the events that complete lines make up."""
    reader = EventReader()
    for line in lines:
        event = reader.feed(line)
        if event is not None:
            yield event

"""Reads server-sent events (HTML Living Standard, section 9.2): lines in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    name: str
    data: str
    identifier: str


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yields the events that complete lines make up; comments and unknown fields are passed over."""
    name, data, identifier = "message", list[str](), ""
    for line in lines:
        if not line:
            if data:
                yield Event(name, "\n".join(data), identifier)
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "id":
            identifier = value

"""Reads server-sent events (HTML Living Standard, section 9.2): lines in, events out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event of a stream."""

    data: str
    identifier: str


def parse_events(lines: Iterable[str]) -> Iterator[Event]:
    """Yields the events that complete lines make up; comments and fields of no use here are passed over."""
    data, identifier = list[str](), ""
    for line in lines:
        if not line:
            if data:
                yield Event("\n".join(data), identifier)
            data = []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data.append(value)
        elif field == "id":
            identifier = value

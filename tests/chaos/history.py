"""The history of a trial: one event a line, written while it happens, read by the checker afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self


class Kind(StrEnum):
    """What happened."""

    TRIAL = "trial"
    """The trial began: seed, agents, settings."""
    REQUEST = "request"
    """A client's request was answered: `request`, `task`, `outcome` (accepted, refused or unknown), `status`, and of a
    refusal the `fate` of the submission; `before` counts the sendings before it under the same key."""
    FOREIGN = "foreign"
    """A message was sent straight to the queue: `request` and `task`, or `unreadable`."""
    DUPLICATE = "duplicate"
    """A message was sent a second time, straight to the queue: `request`."""
    CANCEL = "cancel"
    """A cancel was answered: `task`, `status`, and the `submission` that it was about."""
    SEEN = "seen"
    """A client read a task: `task`, `submission`, `status`."""
    WRITE = "write"
    """A record was replaced: `who`, `task`, `record`, `replaced` (entity tag or empty), `etag`, `asked`."""
    OBJECT = "object"
    """Another object was put or deleted: `who`, `key`, `deleted`, `etag`, `asked`."""
    RECEIVED = "received"
    """An agent received a message: `who`, `message`, `receipt`, `task`, `submission`."""
    DELETED = "deleted"
    """A message was deleted: `who`, `receipt`, `asked`."""
    PUBLISHED = "published"
    """A callback was published: `who`, `submission`, `body`, `asked`."""
    BURIED = "buried"
    """A message was put into the dead-letter queue: `who`, `submission`, `body`, `asked`."""
    RESENT = "resent"
    """A message that SNS could not deliver was put into its queue: `who`, `submission`, `asked`."""
    UNGROUPED = "ungrouped"
    """A task's message was sent with another message group than its tenant: `who`, `submission`, `group`."""
    HEARD = "heard"
    """The subscriber got a callback: `submission`, `body`."""
    FAULT = "fault"
    """A fault began: `fault`, `target`, `until` (its foreseen end); or `skipped` with the reason."""
    STARTED = "started"
    """A process was started: `name`, `pid`."""
    ENDED = "ended"
    """A process has ended: `name`, `status`, `expected`."""
    RUN = "run"
    """The GPU of a runtime worked on a prompt: `who`, `request`, `began`, `outcome`."""
    TRACE = "trace"
    """A process wrote a stack trace: `name`, `text`."""
    SETTLED = "settled"
    """The trial is over: `recovered`, `reason`, `interrupted`."""
    FINAL = "final"
    """What lies in the bucket and in the queues at last: `objects`, `records`, `dead_letters`, `waiting`."""


@dataclass(frozen=True)
class Event:
    """One thing that happened; `at` is in seconds since the epoch."""

    at: float
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Returns it as one line of JSON."""
        return json.dumps({"at": round(self.at, 4), "kind": self.kind, **self.facts}, separators=(",", ":"))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Returns the event of a line."""
        facts = json.loads(line)
        return cls(facts.pop("at"), Kind(facts.pop("kind")), facts)


class History:
    """Keeps events in memory and in a file; may be written by any thread.

    Args:
        path: of the file, one event a line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8")

    def add(self, kind: Kind, **facts: Any) -> Event:
        """Notes that something has happened now."""
        event = Event(time.time(), kind, facts)
        with self._lock:
            self.events.append(event)
            if not self._file.closed:
                self._file.write(event.line() + "\n")
                self._file.flush()
        return event

    def close(self) -> None:
        """Ends the file."""
        with self._lock:
            self._file.close()


def read(path: Path) -> list[Event]:
    """Returns the events of a file."""
    return parse(path.read_text("utf-8").splitlines())


def parse(lines: Iterable[str]) -> list[Event]:
    """Returns the events of lines; a last line that was cut off is left out."""
    events = []
    for line in lines:
        try:
            events.append(Event.parse(line))
        except ValueError:
            break
    return events

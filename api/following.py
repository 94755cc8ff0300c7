"""Which of a tenant's unfinished tasks is looked at next, and what was last told of each: decisions without any I/O."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from api.events import event_id
from contract.record import Status
from contract.store import Stored

FAST: Final = 0.5
"""Seconds between two looks at a task that changes."""
SLOWEST: Final = 2.0
"""At one that runs and does not."""
NEXT_IN_LINE: Final = 1.0
"""At one of the next in its runtime's queue."""
FAR_BACK: Final = 10.0
"""At one further back: it has to come nearer first, or be cancelled elsewhere."""

_HEAD: Final = 10
"""So many are next in a runtime's queue. Queues keep their order roughly."""

MOST_ENDED: Final = 500
"""Ended tasks whose last event is kept for those who come back."""
MOST_BYTES: Final = 32 * 1024 * 1024
"""Of one tenant's events that are kept."""


@dataclass(slots=True)
class Followed:
    """A task that has not ended, as far as is known."""

    id: str
    known: Stored | None = None
    """What the last look found; None: nobody has looked."""
    looked_at: float = 0.0
    """By a monotonic clock."""
    interval: float = FAST

    @property
    def runtime(self) -> str:
        """Whose queue it is in; empty: not known yet."""
        return self.known.record.current.runtime if self.known else ""

    @property
    def waits(self) -> bool:
        """Whether it was in its queue at the last look."""
        return self.known is not None and self.known.record.current.status is Status.QUEUED

    def seen(self, found: Stored, now: float) -> bool:
        """Notes what a look has found; returns whether a reader should be told."""
        news = self.known is None or event_id(found.record.current) != event_id(self.known.record.current)
        self.interval = FAST if news else min(SLOWEST, self.interval * 1.3)
        self.known, self.looked_at = replace(found, record=found.record.without_baggage()), now
        return news


def due(tasks: Iterable[Followed], now: float, most: int) -> list[Followed]:
    """Returns the tasks to look at now, at most so many: those that are the most overdue by their own measure.

    A third is for those of which nothing is known yet, the newest first, or more where nobody else wants it.

    Args:
        tasks: in the order in which they were submitted.
        now: by the clock of their last looks.
        most: however many are due. With more unfinished tasks than that allows, each waits longer for its turn.
    """
    before: Counter[str] = Counter()
    late = list[tuple[float, int, Followed]]()
    unknown = list[Followed]()
    for number, task in enumerate(tasks):
        if task.known is None:
            unknown.append(task)
            continue
        wanted = task.interval
        if task.waits:
            before[task.runtime] += 1
            wanted = NEXT_IN_LINE if before[task.runtime] <= _HEAD else FAR_BACK
        lateness = (now - task.looked_at) / wanted
        if lateness >= 1:
            late.append((lateness, -number, task))
    room = max(most - len(late), -(-most // 3))
    chosen = unknown[::-1][:room]
    return chosen + [task for _, _, task in heapq.nlargest(most - len(chosen), late)]


@dataclass(frozen=True, slots=True)
class Told:
    """The newest event of one task."""

    number: int
    event: bytes
    """As it goes over the wire."""
    ended: bool
    state: str
    """As `api.events.event_id` has it."""


class EventLog:
    """The newest event of each task, in the order in which they came.

    A reader who is slow, or was away, gets of each task its newest state alone: each event carries the whole of it.
    """

    def __init__(self, *, most_ended: int = MOST_ENDED, most_bytes: int = MOST_BYTES) -> None:
        self.number = 0
        """Of the newest event."""
        self.forgotten = 0
        """Of the newest event that is kept no more: who has seen less than that cannot be told all."""
        self._most_ended = most_ended
        self._most_bytes = most_bytes
        self._of: dict[str, Told] = {}
        self._ended = 0
        self._bytes = 0

    def knows(self, task_id: str, submission: str) -> bool:
        """Tells whether a submission is the newest one that was told of a task."""
        told = self._of.get(task_id)
        return told is not None and told.state.startswith(f"{submission}.")

    def put(self, task_id: str, event: bytes, *, ended: bool, state: str = "") -> None:
        """Adds a task's newest event, whose number is the next one."""
        self.number += 1
        self._drop(task_id)
        self._of[task_id] = Told(self.number, event, ended, state)
        self._ended += ended
        self._bytes += len(event)
        while self._ended > self._most_ended:
            self._forget(next(name for name, told in self._of.items() if told.ended))
        while self._bytes > self._most_bytes and len(self._of) > 1:
            self._forget(next(iter(self._of)))

    def since(self, number: int) -> list[bytes]:
        """Returns the events after one, the oldest first."""
        events = list[bytes]()
        for told in reversed(self._of.values()):
            if told.number <= number:
                break
            events.append(told.event)
        return events[::-1]

    def unfinished(self) -> list[bytes]:
        """Returns the newest event of each task that has not ended."""
        return [told.event for told in self._of.values() if not told.ended]

    def _forget(self, task_id: str) -> None:
        self.forgotten = max(self.forgotten, self._of[task_id].number)
        self._drop(task_id)

    def _drop(self, task_id: str) -> None:
        told = self._of.pop(task_id, None)
        if told is not None:
            self._ended -= told.ended
            self._bytes -= len(told.event)


@dataclass(frozen=True, slots=True)
class Cursor:
    """An event's id: which log it is from, and its number there."""

    log: str
    number: int

    def __str__(self) -> str:
        return f"{self.log}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Returns what a client sends back as `Last-Event-ID`; None: it is none of ours."""
        log, dot, number = text.partition(".")
        if not log or not dot or not (number.isascii() and number.isdecimal()) or len(number) > 18:
            return None
        return cls(log, int(number))


KEPT_FOR: Final = timedelta(seconds=60)
"""After the last reader of a tenant's events has left, for which his log is kept for him."""

"""Callbacks as they arrive from a queue on the callback topic: read, remembered, and told to whoever looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

KEPT: Final = 1000
"""Callbacks that are remembered; the newest."""


@dataclass(frozen=True)
class Heard:
    """One callback, as it arrived."""

    received_at: datetime
    body: dict[str, Any]
    attributes: dict[str, str]

    @property
    def tenant(self) -> str:
        """Whose task it is about; empty: the shared space's."""
        return self.attributes.get("tenant", "")

    def as_json(self) -> dict[str, Any]:
        """Returns it as pages read it."""
        return {"received_at": self.received_at.isoformat(), "attributes": self.attributes, "callback": self.body}


def parse(message: Mapping[str, Any], now: datetime) -> Heard:
    """Returns a received SQS message as a callback; one that is no JSON object is shown as text."""
    try:
        body = json.loads(message["Body"])
    except ValueError:
        body = message["Body"]
    attributes = {name: str(item.get("StringValue", "")) for name, item in message.get("MessageAttributes", {}).items()}
    return Heard(now, body if isinstance(body, dict) else {"text": body}, attributes)


class Memory:
    """The newest callbacks, and those who wait for the next one. For one event loop."""

    def __init__(self) -> None:
        self._heard: deque[Heard] = deque(maxlen=KEPT)
        self._waiting: set[asyncio.Queue[Heard]] = set()

    def add(self, heard: Heard) -> None:
        """Remembers a callback and tells it to everybody who waits."""
        self._heard.appendleft(heard)
        for queue in self._waiting:
            with contextlib.suppress(asyncio.QueueFull):  # a page that reads too slowly misses one
                queue.put_nowait(heard)

    def newest_first(self, task_id: str | None = None, tenant: str | None = None) -> list[Heard]:
        """Returns what is remembered; of one task, if an id is given, and of one tenant (empty: the shared space)."""
        return [
            item
            for item in self._heard
            if (task_id is None or item.body.get("id") == task_id) and (tenant is None or item.tenant == tenant)
        ]

    @contextlib.contextmanager
    def waiting(self) -> Iterator[asyncio.Queue[Heard]]:
        """Yields a queue that is given each new callback."""
        queue: asyncio.Queue[Heard] = asyncio.Queue(maxsize=KEPT)
        self._waiting.add(queue)
        try:
            yield queue
        finally:
            self._waiting.discard(queue)

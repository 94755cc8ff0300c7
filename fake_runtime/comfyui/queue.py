"""The prompt queue and the history: a heap by number, and what ended."""

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

MAXIMUM_HISTORY = 10_000


@dataclass(order=True, slots=True)
class Item:
    """A queued prompt; the lowest number runs first, equal numbers by id, then by arrival."""

    number: float
    prompt_id: str
    arrival: int
    prompt: dict[str, Any] = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)

    def describe(self) -> list[Any]:
        """As GET queue and history show it."""
        return [self.number, self.prompt_id, self.prompt, self.extra_data, self.outputs]


class PromptQueue:
    """What waits, what runs, and what is over."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._waiting: list[Item] = []
        self._arrivals = count()
        self._not_empty = asyncio.Event()
        self.running: Item | None = None
        self.history: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        """``queue_remaining``: what waits and what runs."""
        return len(self._waiting) + (self.running is not None)

    def put(
        self, number: float, prompt_id: str, prompt: dict[str, Any], extra_data: dict[str, Any], outputs: list[str]
    ) -> None:
        """Queues a prompt. The same id twice is two prompts."""
        heapq.heappush(self._waiting, Item(number, prompt_id, next(self._arrivals), prompt, extra_data, outputs))
        self._not_empty.set()
        self._on_change()

    async def get(self) -> Item:
        """Waits for the next prompt and makes it the running one."""
        while not self._waiting:
            self._not_empty.clear()
            await self._not_empty.wait()
        self.running = heapq.heappop(self._waiting)
        self._on_change()
        return self.running

    def done(self, outputs: dict[str, Any], meta: dict[str, Any], status: dict[str, Any]) -> None:
        """Writes the running prompt into history; an older entry of its id is lost."""
        item = self.running
        if item is None:
            raise RuntimeError("no prompt is running")
        self.running = None
        while len(self.history) >= MAXIMUM_HISTORY:
            self.history.pop(next(iter(self.history)))
        self.history.pop(item.prompt_id, None)
        self.history[item.prompt_id] = {
            "prompt": item.describe(),
            "outputs": outputs,
            "status": status,
            "meta": meta,
        }
        self._on_change()

    def describe(self) -> dict[str, list[list[Any]]]:
        """GET queue; what waits is in heap order, not in the order it will run."""
        return {
            "queue_running": [] if self.running is None else [self.running.describe()],
            "queue_pending": [item.describe() for item in self._waiting],
        }

    def clear(self) -> None:
        """Forgets all that waits."""
        self._waiting.clear()
        self._on_change()

    def delete(self, prompt_id: Any) -> bool:
        """Forgets one waiting prompt of this id, and tells whether there was one; a running one is left alone."""
        for index, item in enumerate(self._waiting):
            if item.prompt_id == prompt_id:
                self._waiting.pop(index)
                heapq.heapify(self._waiting)
                self._on_change()
                return True
        return False

    def recall(self, max_items: int | None = None, offset: int = -1) -> dict[str, Any]:
        """A part of history, oldest first; without an offset the newest."""
        if max_items is None and offset < 0:
            return self.history
        entries = list(self.history.items())
        if offset < 0 and max_items is not None:
            offset = max(0, len(entries) - max_items)
        end = None if max_items is None else offset + max_items
        return dict(entries[offset:end])

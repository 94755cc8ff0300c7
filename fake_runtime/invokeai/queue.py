"""The queue: items that wait, the one that runs, and all that ended, until somebody deletes them."""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from fake_runtime.invokeai.schema import Batch
from fake_runtime.invokeai.store import Database, now

STATUSES = ("pending", "in_progress", "waiting", "completed", "failed", "canceled")
OPEN = frozenset({"pending", "in_progress"})
QUEUE_ID = "default"
_SUMMARY = (
    "item_id", "created_at", "status", "device", "started_at", "completed_at", "origin", "destination", "batch_id",
    "user_id", "user_display_name", "user_email", "field_values", "parent_item_id",
)  # fmt: skip

type Item = dict[str, Any]


def new_session(identifier: str, graph: dict[str, Any]) -> dict[str, Any]:
    """A session in which nothing has run."""
    return {
        "id": identifier,
        "graph": graph,
        "execution_graph": {"id": str(uuid.uuid4()), "nodes": {}, "edges": []},
        "executed": [],
        "executed_history": [],
        "results": {},
        "errors": {},
        "prepared_source_mapping": {},
        "source_prepared_mapping": {},
    }


def shown(item: Item) -> Item:
    """An item as its route shows it: without what is null."""
    return {name: value for name, value in item.items() if value is not None}


def summary(item: Item) -> Item:
    """An item as lists show it: without its session."""
    return {name: item.get(name) for name in _SUMMARY}


class Queue:
    """The items of one server."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = asyncio.Event()
        self.items: dict[int, Item] = database.items()
        self.paused = False
        self.processing: int | None = None
        """The item that the processor is at, whatever the queue says of it."""
        self.interrupt: Callable[[], None] = lambda: None
        # What ran when the process ended is given up; what waited runs now.
        self.cancel(item for item in self.items.values() if item["status"] == "in_progress")

    def enqueue(self, batch: Batch, *, prepend: bool) -> tuple[list[int], int]:
        """Adds a batch; returns the ids of all items of its name, newest first, and their priority."""
        waiting = [item["priority"] for item in self.items.values() if item["status"] == "pending"]
        priority = max(waiting, default=0) + 1 if prepend else 0
        graph = batch.graph.model_dump(exclude_none=True)
        for _ in range(batch.runs):
            item_id, session_id, moment = self._database.add_item(), str(uuid.uuid4()), now()
            item: Item = {
                "item_id": item_id,
                "status": "pending",
                "status_sequence": 0,
                "priority": priority,
                "batch_id": batch.batch_id,
                "origin": batch.origin,
                "destination": batch.destination,
                "session_id": session_id,
                "error_type": None,
                "error_message": None,
                "error_traceback": None,
                "created_at": moment,
                "updated_at": moment,
                "started_at": None,
                "completed_at": None,
                "queue_id": QUEUE_ID,
                "user_id": "system",
                "user_display_name": "System",
                "user_email": "system@system.invokeai",
                "field_values": [],
                "device": None,
                "parent_item_id": None,
                "session": new_session(session_id, graph),
                "workflow": batch.workflow,
            }
            self.items[item_id] = item
            self._database.write_item(item_id, item)
        self._changed.set()
        return [number for number in reversed(self.items) if self.items[number]["batch_id"] == batch.batch_id], priority

    async def next(self) -> Item:
        """Waits for the next item, and makes it the one that runs."""
        while self.paused or not (waiting := [item for item in self.items.values() if item["status"] == "pending"]):
            self._changed.clear()
            await self._changed.wait()
        item = min(waiting, key=lambda item: (-item["priority"], item["item_id"]))
        self.processing = item["item_id"]
        item["device"] = "cpu"
        self.set_status(item, "in_progress")
        return item

    def set_status(self, item: Item, status: str) -> None:
        """Notes how far an item is; one that has ended stays as it is."""
        if item["status"] not in OPEN:
            return
        item.update(status=status, status_sequence=item["status_sequence"] + 1, updated_at=now())
        if status == "in_progress":
            item["started_at"] = item["updated_at"]
        elif status != "pending":
            item["completed_at"] = item["updated_at"]
        self.save(item)

    def save(self, item: Item) -> None:
        """Writes an item; one that was deleted meanwhile stays so."""
        self._database.write_item(item["item_id"], item)

    def cancel(self, items: Iterable[Item]) -> int:
        """Cancels what has not ended, at once; what runs stops when it can. Returns how many there were."""
        found = [item for item in items if item["status"] in OPEN]
        for item in found:
            self.set_status(item, "canceled")
            if item["item_id"] == self.processing:
                self.interrupt()
        return len(found)

    def delete(self, items: Iterable[Item]) -> int:
        """Forgets items; what runs stops when it can. Returns how many there were."""
        found = list(items)
        self.cancel(found)
        for item in found:
            del self.items[item["item_id"]]
            self._database.delete_item(item["item_id"])
        return len(found)

    def pause(self, *, paused: bool) -> None:
        """Lets no further item begin, or lets them again."""
        self.paused = paused
        self._changed.set()

    def of(self, field: str, values: Iterable[Any]) -> list[Item]:
        """The items of which a field has one of these values."""
        wanted = list(values)
        return [item for item in self.items.values() if item[field] in wanted]

    def listed(self, destination: str | None) -> list[Item]:
        """All items, or those of a destination, as they would run."""
        items = self.items.values() if destination is None else self.of("destination", [destination])
        return sorted(items, key=lambda item: (-item["priority"], item["item_id"]))

    def counts(self, items: Iterable[Item]) -> dict[str, int]:
        """How many of them are in which status, and in all."""
        statuses = [item["status"] for item in items]
        return {status: statuses.count(status) for status in STATUSES} | {"total": len(statuses)}

    def current(self) -> Item | None:
        """The item that runs, if the queue says so of one."""
        return next(iter(self.of("status", ["in_progress"])), None)

"""What the server keeps through a restart: the queue's items and the images, in a folder."""

import json
import sqlite3
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def now() -> str:
    """The time as the server writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


class Database:
    """Documents by their keys, each written as it changes."""

    def __init__(self, folder: Path) -> None:
        # Nodes run in threads of their own, one at a time; the module itself takes one call after another.
        self._connection = sqlite3.connect(folder / "invokeai.db", isolation_level=None, check_same_thread=False)
        # The fake's process may be killed, its machine is not: what the system holds is enough.
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS items (key INTEGER PRIMARY KEY AUTOINCREMENT, document TEXT NOT NULL)"
        )
        self._connection.execute("CREATE TABLE IF NOT EXISTS images (key TEXT PRIMARY KEY, document TEXT NOT NULL)")

    def items(self) -> dict[int, dict[str, Any]]:
        """The queue's items, in the order of their ids."""
        return {
            int(key): json.loads(document)
            for key, document in self._connection.execute("SELECT key, document FROM items ORDER BY key")
        }

    def images(self) -> dict[str, dict[str, Any]]:
        """The records of the images, oldest first."""
        return {
            str(key): json.loads(document)
            for key, document in self._connection.execute("SELECT key, document FROM images ORDER BY rowid")
        }

    def add_item(self) -> int:
        """A new item's id; none is used twice."""
        return int(self._connection.execute("INSERT INTO items (document) VALUES ('{}')").lastrowid or 0)

    def write_item(self, key: int, document: dict[str, Any]) -> None:
        """Writes an item that is there."""
        self._connection.execute("UPDATE items SET document = ? WHERE key = ?", (json.dumps(document), key))

    def delete_item(self, key: int) -> None:
        """Forgets an item."""
        self._connection.execute("DELETE FROM items WHERE key = ?", (key,))

    def write_image(self, key: str, document: dict[str, Any]) -> None:
        """Writes an image's record."""
        self._connection.execute("REPLACE INTO images VALUES (?, ?)", (key, json.dumps(document)))

    def delete_image(self, key: str) -> None:
        """Forgets an image's record."""
        self._connection.execute("DELETE FROM images WHERE key = ?", (key,))


class Images:
    """The images: PNG files and records of them."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._folder = folder / "images"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._database = database
        self.records = database.images()
        self.on_deleted: Callable[[str], None] = lambda _: None

    def save(
        self,
        data: bytes,
        size: tuple[int, int],
        *,
        category: str = "general",
        is_intermediate: bool = False,
        session_id: str | None = None,
        node_id: str | None = None,
    ) -> dict[str, Any]:
        """Keeps a PNG under a name of the server's own; returns its record."""
        name, moment = f"{uuid.uuid4()}.png", now()
        (self._folder / name).write_bytes(data)
        self.records[name] = {
            "image_name": name,
            "image_url": f"api/v1/images/i/{name}/full",
            "thumbnail_url": f"api/v1/images/i/{name}/thumbnail",
            "image_origin": "external" if session_id is None else "internal",
            "image_category": category,
            "width": size[0],
            "height": size[1],
            "created_at": moment,
            "updated_at": moment,
            "deleted_at": None,
            "is_intermediate": is_intermediate,
            "session_id": session_id,
            "node_id": node_id,
            "starred": False,
            "has_workflow": session_id is not None,
            "image_subfolder": "",
            "board_id": None,
        }
        self._database.write_image(name, self.records[name])
        return self.records[name]

    def path(self, name: str) -> Path | None:
        """Where an image lies; None if there is none of that name."""
        return self._folder / name if name in self.records else None

    def delete(self, name: str) -> bool:
        """Deletes an image; returns whether there was one."""
        if self.records.pop(name, None) is None:
            return False
        (self._folder / name).unlink(missing_ok=True)
        self._database.delete_image(name)
        self.on_deleted(name)
        return True

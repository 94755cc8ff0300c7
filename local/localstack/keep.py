"""Keeps what LocalStack is given in a file, and gives it back at the next start; beside `serve.py`, in its environment.

LocalStack's free runtime has no persistence of its own: `PERSISTENCE=1` does nothing without its paid plugins. This
keeps the two things from which a deployment can be made whole: the objects of S3, and the messages that were published
to SNS. Both are in the file before LocalStack answers. The objects are back before it takes a connection; the messages
are for whoever provisions it to send again (`local/kept.py`), since topics and queues are made anew. No queue is kept.
"""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
  bucket TEXT, key TEXT, headers TEXT, body BLOB, PRIMARY KEY (bucket, key)
);
CREATE TABLE IF NOT EXISTS messages (
  id INTEGER PRIMARY KEY, topic TEXT, message TEXT, attributes TEXT, at REAL
);
"""

_WRITES = frozenset({"PutObject", "CopyObject", "CompleteMultipartUpload", "DeleteObject"})
_HEADERS = frozenset({"content-type", "content-encoding", "content-disposition", "content-language", "cache-control"})
_SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


def connect(path: Path) -> sqlite3.Connection:
    """Opens the file, made if it is not there; several processes may have it open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
    # What is written stays when the process is killed, and is not waited for until it is on the disk.
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.executescript(SCHEMA)
    return database


class Keeping:
    """The file of one LocalStack.

    Args:
        path: of the file.
        gateway: through which LocalStack is asked, without a connection.
    """

    def __init__(self, path: Path, gateway: Any) -> None:
        self._database = connect(path)
        self._gateway = gateway
        self._lock = threading.Lock()

    def give_back(self) -> int:
        """Puts every object back; returns how many."""
        for (bucket,) in self._database.execute("SELECT DISTINCT bucket FROM objects").fetchall():
            self._ask("PUT", f"/{bucket}")
        keys = self._database.execute("SELECT bucket, key FROM objects").fetchall()
        for bucket, key in keys:
            row = self._database.execute(
                "SELECT headers, body FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
            )
            headers, body = row.fetchone()
            self._ask("PUT", _path(bucket, key), headers=json.loads(headers), body=body)
        return len(keys)

    def note(self, _: Any, context: Any, response: Any) -> None:
        """Keeps what a request has changed, before it is answered; a response handler of the gateway."""
        if response.status_code >= 300 or context.service is None or context.operation is None:
            return
        request, operation = context.service_request or {}, context.operation.name
        if context.service.service_name == "s3":
            for key in _changed(operation, request):
                self._note_object(request["Bucket"], key)
        elif context.service.service_name == "sns":
            self._note_messages(_published(operation, request))

    def _note_object(self, bucket: str, key: str) -> None:
        # Of writes that overtake one another, whoever comes here last sees what the last of them has left.
        with self._lock:
            status, found, body = self._ask("GET", _path(bucket, key))
            where = (bucket, key)
            if status == 404:
                self._database.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", where)
            elif status == 200:
                headers = {
                    name: value
                    for name, value in found.items()
                    if name.lower() in _HEADERS or name.lower().startswith("x-amz-meta-")
                }
                row = (*where, json.dumps(headers), body)
                self._database.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)

    def _note_messages(self, messages: Iterable[tuple[str, str, str]]) -> None:
        with self._lock:
            for topic, message, attributes in messages:
                row = (topic, message, attributes, time.time())
                self._database.execute("INSERT INTO messages (topic, message, attributes, at) VALUES (?, ?, ?, ?)", row)

    def _ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, Any, bytes]:
        """Returns the status, headers and body of LocalStack's answer."""
        from rolo import Request, Response  # noqa: PLC0415 - LocalStack's environment has it, and ours has not

        response = Response()
        own = {"Host": "localhost", "Authorization": _SIGNED, "Content-Length": str(len(body))}
        self._gateway.process(Request(method, path, body=body, headers={**(headers or {}), **own}), response)
        try:
            return response.status_code, response.headers, b"".join(response.iter_encoded())
        finally:
            # A body that is not closed keeps its object locked: the next write would wait for ever.
            response.close()


def _changed(operation: str, request: Any) -> list[str]:
    if operation in _WRITES:
        return [request["Key"]]
    if operation == "DeleteObjects":
        return [item["Key"] for item in request["Delete"]["Objects"]]
    return []


def _published(operation: str, request: Any) -> Iterator[tuple[str, str, str]]:
    entries = {"Publish": [request], "PublishBatch": request.get("PublishBatchRequestEntries", ())}.get(operation, ())
    for entry in entries:
        if request.get("TopicArn"):
            yield request["TopicArn"], entry["Message"], json.dumps(entry.get("MessageAttributes") or {})


def _path(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key)}"

"""Reads, from what an agent and SQS said to each other, when each message was received and deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Handling:
    """One message from its receipt to its deletion, in Unix seconds."""

    task_id: str
    received: float
    deleted: float


@dataclass
class QueueDiary:
    """What happened to the messages of one queue, by receipt handle.

    Only SQS's JSON protocol is understood (botocore since 1.31.81); of an agent that speaks the older one, times are
    not known.
    """

    received: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The task and the time of each receipt."""
    deleted: dict[str, float] = field(default_factory=dict)

    def note(self, request: bytes, response: bytes, at: float) -> None:
        """Takes down one HTTP exchange that was complete at some moment; only receives and deletes count."""
        head, _, body = request.partition(_HEAD_END)
        operation = _operation(head)
        if operation not in {"ReceiveMessage", "DeleteMessage", "DeleteMessageBatch"}:
            return
        if response.split(b" ", 2)[1:2] != [b"200"]:
            return
        if operation == "ReceiveMessage":
            for message in _json(_body(response)).get("Messages") or []:
                self.received[message["ReceiptHandle"]] = (_task_id(message.get("Body", "")), at)
        else:
            for handle in _handles(_json(body)):
                self.deleted.setdefault(handle, at)

    def handlings(self) -> list[Handling]:
        """Returns every message that was received and then deleted, in the order of deletion."""
        known = (
            Handling(*self.received[handle], deleted)
            for handle, deleted in self.deleted.items()
            if handle in self.received
        )
        return sorted(known, key=lambda item: item.deleted)


def is_whole(response: bytes) -> bool:
    """Tells whether an HTTP/1.1 answer has come to its end."""
    head, found, body = response.partition(_HEAD_END)
    if not found:
        return False
    headers = _headers(head)
    if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    try:
        return len(body) >= int(headers.get(b"content-length", b"0"))
    except ValueError:
        return True


def _headers(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


def _operation(head: bytes) -> str:
    return _headers(head).get(b"x-amz-target", b"").rpartition(b".")[2].decode(errors="replace")


def _body(response: bytes) -> bytes:
    head, _, body = response.partition(_HEAD_END)
    if _headers(head).get(b"transfer-encoding", b"").lower() != b"chunked":
        return body
    return b"".join(_chunks(body))


def _chunks(body: bytes) -> Iterator[bytes]:
    while body:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return
        yield rest[:length]
        body = rest[length + 2 :]


def _json(text: bytes | str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _handles(document: dict[str, Any]) -> list[str]:
    entries = document.get("Entries") or [document]
    return [entry["ReceiptHandle"] for entry in entries if "ReceiptHandle" in entry]


def _task_id(body: str) -> str:
    metadata = _json(body).get("metadata")
    return str(metadata.get("id", "")) if isinstance(metadata, dict) else ""

"""What came on the callback topic: taken from a queue, remembered, and told to whoever looks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from contract.outages import OUTAGES

KEPT: Final = 1000
"""Callbacks that are remembered; the newest."""

_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Queue(Protocol):
    """The part of aiobotocore's SQS client that is needed."""

    async def receive_message(self, **arguments: Any) -> Any:
        """Amazon SQS ReceiveMessage."""

    async def delete_message(self, **arguments: Any) -> Any:
        """Amazon SQS DeleteMessage."""


@dataclass(frozen=True)
class Heard:
    """One callback, as it arrived."""

    received_at: str
    body: dict[str, Any]
    attributes: dict[str, str]

    @property
    def tenant(self) -> str:
        """Whose task it is about; empty: the shared space's."""
        return self.attributes.get("tenant", "")

    def as_json(self) -> dict[str, Any]:
        """Returns it as the console reads it."""
        return {"received_at": self.received_at, "attributes": self.attributes, "callback": self.body}


def parse(message: dict[str, Any], now: datetime) -> Heard:
    """Returns a received SQS message as a callback; one that is no JSON object is shown as text."""
    try:
        body = json.loads(message["Body"])
    except ValueError:
        body = message["Body"]
    attributes = {name: str(item.get("StringValue", "")) for name, item in message.get("MessageAttributes", {}).items()}
    return Heard(now.isoformat(), body if isinstance(body, dict) else {"text": body}, attributes)


class Callbacks:
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

    def newest_first(self, task_id: str | None = None) -> list[Heard]:
        """Returns what is remembered, of one task if an id is given."""
        return [item for item in self._heard if task_id is None or item.body.get("id") == task_id]

    @contextlib.contextmanager
    def waiting(self) -> Iterator[asyncio.Queue[Heard]]:
        """Yields a queue that is given each new callback."""
        queue: asyncio.Queue[Heard] = asyncio.Queue(maxsize=KEPT)
        self._waiting.add(queue)
        try:
            yield queue
        finally:
            self._waiting.discard(queue)

    async def listen(self, sqs: Queue, url: str) -> None:
        """Takes callbacks from a queue for ever; a queue that is out of reach is asked again."""
        while True:
            try:
                answer = await sqs.receive_message(
                    QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageAttributeNames=["All"]
                )
                for message in answer.get("Messages", []):
                    self.add(parse(message, datetime.now(UTC)))
                    await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            except OUTAGES as error:
                _log.warning("cannot take callbacks, trying again", error=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)

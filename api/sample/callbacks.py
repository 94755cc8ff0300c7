"""What came on the callback topic: taken from a queue, remembered, and told to whoever looks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import structlog

from contract.heard_callbacks import Memory, parse
from contract.outages import OUTAGES

_RETRY_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Queue(Protocol):
    """The part of aiobotocore's SQS client that is needed."""

    async def receive_message(self, **arguments: Any) -> Any:
        """Amazon SQS ReceiveMessage."""

    async def delete_message(self, **arguments: Any) -> Any:
        """Amazon SQS DeleteMessage."""


class Callbacks(Memory):
    """What a queue has told of, and those who wait for the next one."""

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

"""Takes nudges from the queue of webhooks, and puts off what is not due: at SQS, never in this process.

A nudge that waits is sent anew with a delay before the one that came is deleted. So none is held: SQS hands out 120,000
messages of a queue at most before it gives no more (Amazon SQS quotas, "In-flight messages per queue").
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog

from contract.dead_letter import fitting_attributes
from contract.outages import OUTAGES, is_outage
from contract.topology import RECEIVE_WAIT, string_attributes
from contract.webhooks import Nudge
from webhooks.deliverer import Deliverer, Followed

LONGEST_DELAY: Final = 900
"""Seconds; Amazon SQS quotas, "Delay"."""

_BATCH: Final = 10
_CALL_SECONDS: Final = 20.0
_FOLLOW_SECONDS: Final = 100.0
"""Less than the queue's visibility timeout: then another process may have the nudge."""
_PAUSE: Final = 1.0
"""Seconds, after a call that failed."""

log = structlog.get_logger()


class Sqs(Protocol):
    """The part of aiobotocore's SQS client that is needed here."""

    async def receive_message(self, **arguments: Any) -> Any:
        """Amazon SQS ReceiveMessage."""

    async def send_message(self, **arguments: Any) -> Any:
        """Amazon SQS SendMessage."""

    async def delete_message(self, **arguments: Any) -> Any:
        """Amazon SQS DeleteMessage."""


class Consumer:
    """One process's share of the queue.

    Args:
        sqs: the client.
        url: of the queue.
        dead_letter_url: of its dead-letter queue.
        deliverer: follows nudges.
        parallel: nudges that are followed at once.
        visibility: seconds after which a nudge that was not let go comes again.
    """

    def __init__(
        self,
        sqs: Sqs,
        url: str,
        *,
        dead_letter_url: str,
        deliverer: Deliverer,
        parallel: int,
        visibility: int,
    ) -> None:
        self._sqs = sqs
        self._url = url
        self._dead_letter_url = dead_letter_url
        self._deliverer = deliverer
        self._parallel = parallel
        self._visibility = visibility
        self._following: set[asyncio.Task[None]] = set()
        self.last_answer = 0.0
        """When SQS has answered last, by the monotonic clock; 0: never."""

    @property
    def busy(self) -> int:
        """How many nudges are being followed."""
        return len(self._following)

    async def run(self, stop: asyncio.Event, *, grace: float) -> None:
        """Follows nudges until `stop` is set, and then those under way to their end, for so many seconds."""
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                receiving = asyncio.create_task(self._receive())
                await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not receiving.done():
                    # What SQS hands out at this very moment comes again after the visibility timeout.
                    receiving.cancel()
                    await asyncio.gather(receiving, return_exceptions=True)
                    break
                for message in receiving.result():
                    task = asyncio.create_task(self._follow(message))
                    self._following.add(task)
                    task.add_done_callback(self._following.discard)
                while len(self._following) >= self._parallel and not stop.is_set():
                    await asyncio.wait({*self._following, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if self._following:
                _, late = await asyncio.wait(set(self._following), timeout=grace)
                for task in late:
                    task.cancel()
                await asyncio.gather(*late, return_exceptions=True)

    async def _receive(self) -> list[Any]:
        try:
            async with asyncio.timeout(RECEIVE_WAIT + _CALL_SECONDS):
                answer = await self._sqs.receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=max(1, min(_BATCH, self._parallel - len(self._following))),
                    WaitTimeSeconds=RECEIVE_WAIT,
                    VisibilityTimeout=self._visibility,
                    MessageAttributeNames=["All"],
                    MessageSystemAttributeNames=["ApproximateReceiveCount"],
                )
        except OUTAGES as error:
            log.warning("queue out of reach", error=repr(error)[:300])
            await asyncio.sleep(_PAUSE)
            return []
        self.last_answer = time.monotonic()
        return list(answer.get("Messages", []))

    async def _follow(self, message: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(min(_FOLLOW_SECONDS, self._visibility)):
                await self._take(message)
        except OUTAGES as error:
            # It comes again after the visibility timeout.
            say = log.warning if is_outage(error) else log.error
            say("nudge not followed", error=repr(error)[:300])
        except Exception:
            log.exception("nudge not followed")

    async def _take(self, message: Mapping[str, Any]) -> None:
        try:
            nudge = Nudge.read(message.get("MessageAttributes", {}))
        except ValueError as error:
            await self._bury(message, str(error))
            return
        if nudge.due > time.time() + 1:
            await self._again(nudge)
        else:
            if int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)) > 1:
                # Whoever had it before may have left something pending for which nobody else will come.
                nudge = replace(nudge, owner=True)
            followed = await self._deliverer.follow(nudge)
            for delivery in followed.exhausted:
                last = delivery.tries[-1] if delivery.tries else None
                await self._bury(
                    message, f"{delivery.event} was given up: {last.error if last else 'in time'}", keep=True
                )
            if followed.again is not None:
                await self._again(next_of(nudge, followed, time.time()))
        await self._delete(message)

    async def _again(self, nudge: Nudge) -> None:
        """Sends a nudge anew, to come when it is due or, as often as that takes, on its way there."""
        await self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody="nudge",
            DelaySeconds=min(LONGEST_DELAY, max(0, math.ceil(nudge.due - time.time()))),
            MessageAttributes=string_attributes(nudge.attributes()),
        )

    async def _bury(self, message: Mapping[str, Any], reason: str, *, keep: bool = False) -> None:
        """Sends a message to the dead letters, with why; the message itself goes unless it is to be kept."""
        log.warning("webhook dead letter", reason=reason[:300])
        texts = {name: str(item.get("StringValue", "")) for name, item in message.get("MessageAttributes", {}).items()}
        wanted = {name: texts[name] for name in ("id", "tenant", "submission") if texts.get(name)} | {"reason": reason}
        body = str(message.get("Body", "")) or "nudge"
        await self._sqs.send_message(
            QueueUrl=self._dead_letter_url,
            MessageBody=body,
            MessageAttributes=string_attributes(fitting_attributes(body, wanted)),
        )
        if not keep:
            await self._delete(message)

    async def _delete(self, message: Mapping[str, Any]) -> None:
        # One that is not deleted comes again, and finds nothing to do.
        with suppress(*OUTAGES):
            await self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def next_of(nudge: Nudge, followed: Followed, now: float) -> Nudge:
    """Returns the nudge that is to come again; `now` in Unix seconds."""
    return replace(
        nudge, owner=followed.owner, deferred=followed.deferred, due=now + followed.again if followed.again else 0.0
    )

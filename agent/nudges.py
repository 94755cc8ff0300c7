"""Tells the deliverer of webhooks that a run has begun or has come further, where its webhook wants to hear of it.

Nobody waits for it, and what fails is not repeated: the next nudge, or the end's callback, says as much.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from agent.aws import describe
from agent.holdings import Held
from contract.outages import OUTAGES
from contract.topology import string_attributes
from contract.webhooks import Event, Nudge

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient

log = structlog.get_logger()

_SECONDS: Final = 5.0
_MOST: Final = 20
"""Nudges on their way; with more, SQS is out of reach, and the newest are left out."""


class Nudges:
    """The queue of webhooks.

    Args:
        sqs: the client.
        url: of the queue; empty: nobody is told.
    """

    def __init__(self, sqs: SQSClient, url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._sending: set[asyncio.Task[None]] = set()

    def tell(self, held: Held, event: Event) -> None:
        """Sends a nudge, if the task's webhook wants to hear of such an event."""
        if not self._url or len(self._sending) >= _MOST:
            return
        webhook = held.submission.webhook
        if webhook is None or event not in webhook.events:
            return
        nudge = Nudge(held.metadata.ref, held.submission_id)
        sending = asyncio.create_task(self._send(nudge), name="webhook nudge")
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send(self, nudge: Nudge) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                await self._sqs.send_message(
                    QueueUrl=self._url, MessageBody="nudge", MessageAttributes=string_attributes(nudge.attributes())
                )
        except OUTAGES as error:
            log.debug("webhook_not_nudged", error=describe(error))

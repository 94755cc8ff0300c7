"""The runtime's SQS queue and its dead-letter queue; thin calls, no decisions."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import ClientError

from agent.aws import CALL_TIMEOUT, persist
from agent.holdings import Delivery, Held
from contract.batches import Batches, entry_failures
from contract.dead_letter import fitting_attributes
from contract.topology import RECEIVE_WAIT, message_group, string_attributes

if TYPE_CHECKING:
    from types_aiobotocore_sqs.client import SQSClient

log = structlog.get_logger()

BATCH: Final = 10
"""Entries of one batch call, and messages of one receive (Amazon SQS quotas)."""

DELETE_LINGER: Final = 0.25
"""Seconds that a deletion may wait for others that are due; nobody waits for it."""

_NOT_OURS: Final = (
    "InvalidParameterValue",
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
)
"""Beginnings of the codes for a receipt that no longer counts; LocalStack does not call them the sender's fault."""


class TaskQueue:
    """One runtime's queue.

    Args:
        sqs: the client.
        url: of the queue.
        dead_letter_url: of its dead-letter queue; empty: found by the redrive policy when first needed.
        visibility_timeout: seconds for which a received message is ours.
        finishing: how many messages are about to be deleted.
    """

    def __init__(
        self,
        sqs: SQSClient,
        url: str,
        *,
        dead_letter_url: str = "",
        visibility_timeout: int,
        finishing: Callable[[], int],
    ) -> None:
        self._sqs = sqs
        self._url = url
        self._dead_letter_url: str | None = dead_letter_url or None
        self._visibility_timeout = visibility_timeout
        # One change of visibilities at a time: a heartbeat on its way must not overtake a message that is handed back.
        self._changing = asyncio.Lock()
        self._deletions = Batches(
            self._delete, weigh=len, seconds=CALL_TIMEOUT, expected=finishing, linger=DELETE_LINGER
        )

    async def receive(self, count: int) -> list[Delivery]:
        """Waits up to `RECEIVE_WAIT` seconds for at most `count` messages.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: the queue is out of reach.
        """
        async with asyncio.timeout(RECEIVE_WAIT + CALL_TIMEOUT):
            answer = await self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=min(count, BATCH),
                WaitTimeSeconds=RECEIVE_WAIT,
                VisibilityTimeout=self._visibility_timeout,
                MessageSystemAttributeNames=[
                    "ApproximateFirstReceiveTimestamp",
                    "ApproximateReceiveCount",
                    "AWSTraceHeader",
                    "SentTimestamp",
                ],
            )
        answered_at = _clock_of(answer)
        return [_delivery(message, answered_at) for message in answer.get("Messages", [])]

    async def renew(self, held: Iterable[Held]) -> dict[str, bool]:
        """Keeps messages invisible for another visibility timeout.

        Returns:
            For each message id whether it is still ours; ids of which SQS could not say are left out.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: the queue is out of reach.
        """
        async with self._changing:
            return await self._change_visibility([item for item in held if not item.released], self._visibility_timeout)

    async def hand_back(self, held: Iterable[Held], delay: int = 0) -> None:
        """Gives messages back, to be received again after `delay` seconds.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: the queue is out of reach; the messages then
                come back when their visibility timeout ends.
        """
        released = list(held)
        for item in released:
            item.released = True
        async with self._changing:
            await self._change_visibility(released, delay)

    async def delete(self, held: Held) -> None:
        """Deletes a message, with others that are due at the same time; repeating it is safe.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: the queue is out of reach or refuses.
        """
        await self._deletions.send(held.delivery.receipt_handle)

    async def _delete(self, receipts: Sequence[str]) -> Sequence[ClientError | None]:
        if len(receipts) == 1:
            await self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=receipts[0])
            return [None]
        answer = await self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[{"Id": str(index), "ReceiptHandle": receipt} for index, receipt in enumerate(receipts)],
        )
        return entry_failures(answer, len(receipts), "DeleteMessageBatch", final=_NOT_OURS)

    async def send_dead_letter(self, body: str, attributes: dict[str, str], *, tenant: str = "") -> bool:
        """Puts a message's body into the dead-letter queue; False when there is no such queue.

        Args:
            body: as it was received.
            attributes: as `fitting_attributes` takes them.
            tenant: whose task it is, should SQS itself move it back.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: it is out of reach or refuses.
        """
        url = await self._find_dead_letter_url()
        if not url:
            return False
        await self._sqs.send_message(
            QueueUrl=url,
            MessageBody=body,
            MessageAttributes=string_attributes(fitting_attributes(body, attributes)),
            **message_group(tenant),
        )
        return True

    async def _find_dead_letter_url(self) -> str:
        if self._dead_letter_url is None:
            answer = await self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["RedrivePolicy"])
            policy = answer.get("Attributes", {}).get("RedrivePolicy")
            if not policy:
                self._dead_letter_url = ""
            else:
                *_, account, name = json.loads(policy)["deadLetterTargetArn"].split(":")
                found = await self._sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
                self._dead_letter_url = found["QueueUrl"]
        return self._dead_letter_url

    async def _change_visibility(self, held: Iterable[Held], seconds: int) -> dict[str, bool]:
        results: dict[str, bool] = {}
        for batch in itertools.batched(held, BATCH, strict=False):
            async with asyncio.timeout(CALL_TIMEOUT):
                answer = await self._sqs.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {
                            "Id": str(index),
                            "ReceiptHandle": item.delivery.receipt_handle,
                            "VisibilityTimeout": seconds,
                        }
                        for index, item in enumerate(batch)
                    ],
                )
            for success in answer.get("Successful", []):
                results[batch[int(success["Id"])].delivery.message_id] = True
            for failure in answer.get("Failed", []):
                if failure.get("SenderFault", True) or failure.get("Code", "").startswith(_NOT_OURS):
                    results[batch[int(failure["Id"])].delivery.message_id] = False
        return results


async def delete_for_good(queue: TaskQueue, held: Held) -> None:
    """Deletes a message, however long SQS is out of reach; a receipt that no longer counts is no error."""
    try:
        await persist(lambda: queue.delete(held), "sqs:DeleteMessage", seconds=None)
    except ClientError:
        # The receipt expired: whoever has the message now finds its record ended and deletes it.
        log.info("message_no_longer_ours", message_id=held.delivery.message_id)


def _clock_of(answer: Any) -> float | None:
    """Returns when SQS answered, by its own clock (Unix seconds, whole ones); None when it does not say."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def seconds_waited(
    *, sent_at: float | None, first_received_at: float | None, receive_count: int, answered_at: float | None
) -> float | None:
    """Returns how long a message has waited when it is received; None when it is not known.

    All moments are SQS's (Unix seconds): the clock of the API that sent it, and this machine's, may be wrong.

    Args:
        sent_at: when it was sent.
        first_received_at: when it was received for the first time; that is now if it never was before.
        receive_count: how often it was received, this time included.
        answered_at: now, in whole seconds.
    """
    known = [first_received_at] if receive_count <= 1 else [first_received_at, answered_at]
    moments = [moment for moment in known if moment is not None] or ([answered_at] if answered_at is not None else [])
    return max(0.0, max(moments) - sent_at) if moments and sent_at is not None else None


def _delivery(message: Any, answered_at: float | None) -> Delivery:
    attributes = message.get("Attributes", {})
    sent_at, first_received_at = (
        int(attributes[name]) / 1000 if name in attributes else None
        for name in ("SentTimestamp", "ApproximateFirstReceiveTimestamp")
    )
    receive_count = int(attributes.get("ApproximateReceiveCount", 1))
    return Delivery(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        receive_count=receive_count,
        sent_at=sent_at,
        waited=seconds_waited(
            sent_at=sent_at,
            first_received_at=first_received_at,
            receive_count=receive_count,
            answered_at=answered_at,
        ),
        trace=attributes.get("AWSTraceHeader"),
    )

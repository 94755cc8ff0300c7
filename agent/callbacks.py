"""Publishes the callback that ends a task, and remembers which ones this process has published."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from botocore.exceptions import ClientError

from agent.aws import entry_failures, persist
from agent.batches import Batches
from contract.callback import callback_attributes, callback_for, encode_callback
from contract.record import Submission
from contract.task import SNS_MESSAGE_LIMIT
from contract.topology import string_attributes

if TYPE_CHECKING:
    from types_aiobotocore_sns.client import SNSClient

log = structlog.get_logger()

PUBLISH_LINGER: Final = 0.1
"""Seconds that a callback may wait for those of tasks that are being finished at the same time."""

_REMEMBERED: Final = 2_000
"""Published callbacks of which a redelivery is recognised; more than one agent ends within a message's redelivery."""


class Callbacks:
    """The callback topic.

    Args:
        sns: the client.
        topic: its ARN.
        finishing: how many tasks are about to be called back.
    """

    def __init__(self, sns: SNSClient, topic: str, *, finishing: Callable[[], int]) -> None:
        self._sns = sns
        self._topic = topic
        self._publications = Batches(self._publish, weigh=_Entry.weight, expected=finishing, linger=PUBLISH_LINGER)
        self._published: OrderedDict[str, None] = OrderedDict()

    def was_published(self, submission: Submission) -> bool:
        """Tells whether an ended submission's callback is known to have gone out."""
        return submission.callback_sent or submission.submission in self._published

    async def publish(self, task_id: str, submission: Submission) -> bool:
        """Publishes an ended submission's callback, with others that are due, however long SNS is out of reach.

        Returns:
            False when it went out before and was not published again.

        Raises:
            botocore.exceptions.ClientError: SNS refuses it.
        """
        if self.was_published(submission):
            return False
        callback = callback_for(task_id, submission)
        message = encode_callback(callback)
        if len(message.encode()) > SNS_MESSAGE_LIMIT - 2048:
            # The user's own context is the only part that can be so long. A callback without it beats none.
            log.warning("callback_context_dropped", bytes=len(message))
            message = encode_callback(callback.model_copy(update={"context": None}))
        entry = _Entry(message, callback_attributes(callback, submission))
        await persist(lambda: self._publications.send(entry), "sns:Publish")
        self._published[submission.submission] = None
        while len(self._published) > _REMEMBERED:
            self._published.popitem(last=False)
        return True

    async def _publish(self, entries: Sequence[_Entry]) -> Sequence[ClientError | None]:
        if len(entries) == 1:
            (entry,) = entries
            await self._sns.publish(
                TopicArn=self._topic, Message=entry.message, MessageAttributes=string_attributes(entry.attributes)
            )
            return [None]
        answer = await self._sns.publish_batch(
            TopicArn=self._topic,
            PublishBatchRequestEntries=[
                {
                    "Id": str(index),
                    "Message": entry.message,
                    "MessageAttributes": string_attributes(entry.attributes),
                }
                for index, entry in enumerate(entries)
            ],
        )
        return entry_failures(answer, len(entries), "PublishBatch")


@dataclass(frozen=True)
class _Entry:
    """One message that is to be published."""

    message: str
    attributes: dict[str, str]

    def weight(self) -> int:
        """Returns its bytes as SNS counts them: names and types of attributes too."""
        attributes = sum(len(f"{name}String{value}".encode()) for name, value in self.attributes.items())
        return len(self.message.encode()) + attributes

"""Publishes the callback that ends a task, and remembers which ones this process has published."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from agent.aws import CALL_TIMEOUT, persist
from contract.callback import callback_attributes, callback_for, encode_callback
from contract.identifiers import TaskRef
from contract.publications import Publications
from contract.record import Submission
from contract.task import SNS_MESSAGE_LIMIT

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
        self._publications = Publications(sns, topic, seconds=CALL_TIMEOUT, expected=finishing, linger=PUBLISH_LINGER)
        # By both: a foreign publisher's submissions may be told apart by their tasks alone.
        self._published: OrderedDict[tuple[TaskRef, str], None] = OrderedDict()

    def was_published(self, task: TaskRef, submission: Submission) -> bool:
        """Tells whether an ended submission's callback is known to have gone out."""
        return submission.callback_sent or (task, submission.submission) in self._published

    async def publish(self, task: TaskRef, submission: Submission) -> bool:
        """Publishes an ended submission's callback, with others that are due, however long SNS is out of reach.

        Returns:
            False when it went out before and was not published again.

        Raises:
            botocore.exceptions.ClientError: SNS refuses it.
        """
        if self.was_published(task, submission):
            return False
        callback = callback_for(task.id, submission)
        message = encode_callback(callback)
        if len(message.encode()) > SNS_MESSAGE_LIMIT - 2048:
            # The user's own context is the only part that can be so long. A callback without it beats none.
            log.warning("callback_context_dropped", bytes=len(message))
            message = encode_callback(callback.model_copy(update={"context": None}))
        attributes = callback_attributes(callback, submission, task.tenant)
        await persist(lambda: self._publications.publish(message, attributes), "sns:Publish", seconds=None)
        self._published[task, submission.submission] = None
        while len(self._published) > _REMEMBERED:
            self._published.popitem(last=False)
        return True

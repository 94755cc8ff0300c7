"""Publishes the callback that ends a task, and remembers which ones this process has published."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from agent.aws import CALL_TIMEOUT, persist
from contract.callback import encode_callback
from contract.identifiers import TaskRef
from contract.publications import Publications
from contract.record import Submission

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
        bucket: where the records are, which a callback that was shortened names.
        with_error: whether a callback's JSON has `status` and `error` too.
        finishing: how many tasks are about to be called back.
    """

    def __init__(
        self, sns: SNSClient, topic: str, *, bucket: str, with_error: bool = False, finishing: Callable[[], int]
    ) -> None:
        self._bucket = bucket
        self._with_error = with_error
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
        callback = encode_callback(task, submission, bucket=self._bucket, with_error=self._with_error)
        if callback.truncated:
            log.warning("callback_truncated", images=len(submission.image_url), bytes=callback.bytes)
        await persist(
            lambda: self._publications.publish(callback.message, callback.attributes), "sns:Publish", seconds=None
        )
        self._published[task, submission.submission] = None
        while len(self._published) > _REMEMBERED:
            self._published.popitem(last=False)
        return True

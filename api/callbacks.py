"""Calls back for submissions that end without an agent: cancelled before they ran, for instance.

Whoever ends a submission from the API writes the end into its record first, and hands it here then. That SNS has taken
the callback is noted in the record, so that the agent which may receive the task's message later need not repeat it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

import structlog
from pydantic import ValidationError

from api.aws import UNAVAILABLE
from contract.callback import encode_callback
from contract.identifiers import TaskRef
from contract.outages import is_outage
from contract.publications import Publications, SnsClient
from contract.record import Submission, UnknownSubmissionError, note_callback
from contract.store import RecordStore
from contract.task_lists import TaskLists

_SECONDS: Final = 12
"""For one callback, AWS's own retries included."""

_PUBLISHING: Final = 2
"""Calls to SNS at once."""

_RETRY_SECONDS: Final = 2.0
"""Between two tries to send what is still owed."""

_MOST: Final = 10_000
"""Owed callbacks that are remembered, the newest."""

_log = structlog.get_logger(__name__)


class Callbacks:
    """The callback topic.

    Args:
        sns: the client.
        topic_arn: of the callback topic.
        store: the task records, in which a callback that went out is noted.
        lists: of tasks; all that ends here is unsuccessful.
        bucket: where they are, which a callback that was shortened names.
        with_error: whether a callback's JSON has `status` and `error` too.
    """

    def __init__(
        self,
        *,
        sns: SnsClient,
        topic_arn: str,
        store: RecordStore,
        lists: TaskLists,
        bucket: str,
        with_error: bool = False,
    ) -> None:
        self._publications = Publications(sns, topic_arn, seconds=_SECONDS, parallel=_PUBLISHING)
        self._store = store
        self._lists = lists
        self._bucket = bucket
        self._with_error = with_error
        self._owed: OrderedDict[tuple[TaskRef, str], Submission] = OrderedDict()

    async def send(self, task: TaskRef, submission: Submission) -> bool:
        """Calls back for a submission that its record says has ended, unless that is noted already.

        Returns:
            Whether SNS has the callback. If not, it is tried again for as long as this process lives; nobody else may
            do it, so whoever asked must not be told that all is well.

        Raises:
            ValueError: the submission has not ended.
        """
        if submission.callback_sent or await self._publish(task, submission):
            return True
        self._owed[task, submission.submission] = submission
        if len(self._owed) > _MOST:
            self._owed.popitem(last=False)
        return False

    async def run(self) -> None:
        """Sends, until cancelled, what is owed, once SNS is back."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            for key, submission in list(self._owed.items()):
                sent = await self._publish(key[0], submission)
                if key in self._owed:
                    # What SNS refuses for itself must not keep the others from their turn.
                    self._owed.pop(key) if sent else self._owed.move_to_end(key)
                if not sent:
                    break

    async def _publish(self, task: TaskRef, submission: Submission) -> bool:
        callback = encode_callback(task, submission, bucket=self._bucket, with_error=self._with_error)
        try:
            async with asyncio.timeout(_SECONDS):
                await self._publications.publish(callback.message, callback.attributes)
        except UNAVAILABLE as error:
            say = _log.warning if is_outage(error) else _log.error
            say("cannot call back", task_id=task.id, submission=submission.submission, error=repr(error))
            return False
        # Before the note: who dies in between has it done again.
        listed, booked = self._lists.unsuccessful(task, submission), self._lists.used(task, submission)
        await listed()
        if booked is not None:
            await booked()
        try:
            async with asyncio.timeout(_SECONDS):
                await self._store.change(
                    task, lambda record: note_callback(record, submission.submission), about=submission.submission
                )
        except (*UNAVAILABLE, UnknownSubmissionError, ValidationError) as error:
            # The agent that receives the task's message calls back once more: the same callback, which harms nobody.
            _log.warning("cannot note the callback", task_id=task.id, error=repr(error))
        return True

"""Sends again what SNS could not deliver to a runtime's queue, and in the end fails it, with a callback.

SNS gives up at once when the queue is gone or does not admit the topic, and after 23 days when SQS does not answer
(Amazon SNS, "Message delivery retries"). The API sends such a message to its queue by itself, which needs no queue
policy, again and again for some hours: somebody may have to put the queue back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog
from botocore.exceptions import ClientError
from pydantic import ValidationError

from api.aws import Sqs
from api.callbacks import Callbacks
from api.metrics import Metrics
from contract.outages import OUTAGES
from contract.record import (
    Failure,
    Record,
    Status,
    Submission,
    TransitionError,
    end_unstarted,
    submission_of,
    submit,
)
from contract.store import RecordStore
from contract.task import Metadata, TaskMessage, UnreadableMessageError, encode_task_message, parse_task_message
from contract.topology import Queue, Topology, message_group, string_attributes, takes

UNDELIVERABLE: Final = "undeliverable"
"""The error code of a submission that could not be brought into a queue."""

LONGEST_DELAY: Final = 900
"""Seconds."""

LONGEST_HOLD: Final = 120
"""Seconds for which a received message is this process's: its successor gets it when it dies."""

_BATCH: Final = 10
_LONG_POLL: Final = 1
"""Seconds: any long poll asks all of SQS's servers, a short one a sample of them."""

_log = structlog.get_logger(__name__)


def delay(tries: int, first: float) -> int:
    """Returns seconds until the next try: doubled each time, up to `LONGEST_DELAY`.

    Args:
        tries: so far.
        first: the delay after the first one.
    """
    return max(1, round(min(LONGEST_DELAY, first * 2.0 ** min(max(tries, 1) - 1, 30))))


def hold(interval: float) -> int:
    """Returns for how many seconds a received message is this process's, which looks so often.

    Should it take longer, the message is sent twice, and its agent knows the second copy.
    """
    return round(min(LONGEST_HOLD, max(5.0, 4 * interval)))


def queue_of(place: Topology, attributes: Mapping[str, str], metadata: Metadata | None) -> Queue | None:
    """Returns where a message belongs, by the attributes that SNS filters by, or else by what it says itself."""
    for queue in place.queues:
        if takes(queue, attributes):
            return queue
    return next((queue for queue in place.queues if metadata and queue.runtime == metadata.runtime), None)


def given_up(record: Record | None, metadata: Metadata, *, now: datetime) -> Record:
    """Returns the record in which a submission has failed that no queue takes; one that runs or has ended stays.

    Raises:
        contract.record.TransitionError: too many submissions of its id are under way.
    """
    found = record.find(metadata.submission) if record is not None else None
    if record is not None and found is not None and found.status is not Status.QUEUED:
        return record
    new = submission_of(metadata, submitted_at=metadata.submitted_at or now)
    error = Failure(
        code=UNDELIVERABLE,
        message=f"it could not be brought into the queue of runtime {metadata.runtime}: is it there?",
    )
    return end_unstarted(
        submit(record, metadata.ref, new),
        metadata.submission,
        status=Status.FAILED,
        now=now,
        error=error,
        callback_owed=True,
    )


@dataclass(frozen=True, slots=True)
class _Message:
    receipt: str
    body: str
    attributes: dict[str, str]
    tries: int
    task: TaskMessage | None
    """None: it is no task's."""


class Undelivered:
    """The queue of what SNS could not deliver.

    Args:
        sqs: the client.
        place: names of all queues.
        store: the task records.
        callbacks: the callback topic.
        metrics: counts what was done.
        interval: seconds between two looks.
        most_tries: of sending, after which a task fails.
    """

    def __init__(
        self,
        *,
        sqs: Sqs,
        place: Topology,
        store: RecordStore,
        callbacks: Callbacks,
        metrics: Metrics,
        interval: float,
        most_tries: int,
    ) -> None:
        self._sqs = sqs
        self._place = place
        self._store = store
        self._callbacks = callbacks
        self._metrics = metrics
        self._interval = interval
        self._most_tries = most_tries
        self._url = ""

    async def sweep(self) -> float:
        """Handles all that is in the queue and due, and returns how many seconds there are until the next look.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: SQS is out of reach, or lacks the queue.
        """
        try:
            while messages := await self._receive():
                for message in messages:
                    await self._handle(message)
        except BaseException:
            self._url = ""  # the queue may have been made anew
            raise
        return self._interval

    async def _receive(self) -> list[_Message]:
        if not self._url:
            self._url = (await self._sqs.get_queue_url(QueueName=self._place.undelivered))["QueueUrl"]
        answer = await self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=_BATCH,
            WaitTimeSeconds=_LONG_POLL,
            VisibilityTimeout=hold(self._interval),
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        return [_read(message) for message in answer.get("Messages", [])]

    async def _handle(self, message: _Message) -> None:
        try:
            done = await self._settle(message)
        except (*OUTAGES, TransitionError, ValidationError) as error:
            _log.warning("cannot look after what SNS could not deliver", task_id=_name(message), error=repr(error))
            done = False
        if done:
            await self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message.receipt)
        else:
            await self._sqs.change_message_visibility(
                QueueUrl=self._url,
                ReceiptHandle=message.receipt,
                VisibilityTimeout=delay(message.tries, self._interval),
            )

    async def _settle(self, message: _Message) -> bool:
        """Does what a message calls for; returns whether nobody needs it any more."""
        task = message.task
        if task is None:
            # Nobody waits for it. An agent puts it to the dead letters, and says why.
            return await self._send(message)
        metadata = task.metadata
        stored = await self._store.read(metadata.ref, about=metadata.submission)
        found = stored.record.find(metadata.submission) if stored else None
        if found is None or not found.status.terminal:
            if await self._send(message):
                _log.warning("sent again what SNS could not deliver", task_id=metadata.id, runtime=metadata.runtime)
                self._metrics.swept.labels("sent_again").inc()
                return True
            if message.tries < self._most_tries:
                return False
            found = await self._give_up(metadata)
        return found is None or not found.owes_callback or await self._callbacks.send(metadata.ref, found)

    async def _send(self, message: _Message) -> bool:
        queue = queue_of(self._place, message.attributes, message.task.metadata if message.task else None)
        if queue is None:
            _log.warning("there is no queue for what SNS could not deliver", task_id=_name(message))
            return False
        try:
            url = (await self._sqs.get_queue_url(QueueName=queue.name))["QueueUrl"]
            await self._sqs.send_message(
                QueueUrl=url,
                MessageBody=message.body,
                MessageAttributes=string_attributes(message.attributes),
                **message_group(message.task.metadata.tenant if message.task else ""),
            )
        except ClientError as error:
            _log.warning("cannot send what SNS could not deliver", task_id=_name(message), error=repr(error))
            return False
        return True

    async def _give_up(self, metadata: Metadata) -> Submission | None:
        change = partial(given_up, metadata=metadata, now=datetime.now(UTC))
        stored = await self._store.change(metadata.ref, change, about=metadata.submission)
        found = stored.record.find(metadata.submission)
        if found is not None and found.status is Status.FAILED:
            _log.warning("task_ended", task_id=metadata.id, status=found.status, code=UNDELIVERABLE)
            self._metrics.swept.labels(UNDELIVERABLE).inc()
        return found


def _read(message: Any) -> _Message:
    body, attributes = message["Body"], message.get("MessageAttributes", {})
    task: TaskMessage | None = None
    try:
        task = parse_task_message(body)
    except UnreadableMessageError as error:
        _log.warning("what SNS could not deliver is no task", error=str(error)[:500])
    if task is not None and not task.metadata.submission:
        # A foreign publisher knows of no submissions. Sent twice, it is to be known as one.
        metadata = task.metadata.model_copy(update={"submission": message["MessageId"]})
        task = task.model_copy(update={"metadata": metadata})
        body = encode_task_message(task)
    return _Message(
        receipt=message["ReceiptHandle"],
        body=body,
        attributes={name: item["StringValue"] for name, item in attributes.items() if "StringValue" in item},
        tries=int(message.get("Attributes", {}).get("ApproximateReceiveCount", 1)),
        task=task,
    )


def _name(message: _Message) -> str | None:
    return message.task.metadata.id if message.task else None

"""Reads a dead-letter queue, and moves its letters: record, send, delete, in this order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from typing import Any, Final, Self

from botocore.exceptions import ClientError
from pydantic import ValidationError

from cloud.aws import Aws, code_of
from cloud.redrive.letters import (
    TOO_OFTEN,
    DeadLetter,
    Way,
    as_submission,
    next_submission,
    resubmitted,
    way_back,
)
from contract.dead_letter import fitting_attributes
from contract.objects import payload_key, record_key, s3_url, split_s3_url
from contract.record import AlreadyEndedError, Record, TransitionError, UnknownSubmissionError, send_again, submit
from contract.store import ContendedRecordError, RecordStore, is_absent
from contract.task import SNS_MESSAGE_LIMIT, Metadata, TaskMessage, encode_task_message, message_bytes
from contract.topology import string_attributes

_HELD: Final = 900
"""Seconds for which letters are ours: ten thousand are moved in that time. Each is renewed before it is moved."""

_EMPTY_RECEIVES: Final = 3
"""So many in a row mean that nothing is left."""

_LONG_POLL: Final = 1
"""Seconds of a look at the queue: any long poll asks all of SQS's servers, a short one a sample of them."""


_NOT_OURS: Final = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
"""What SQS says of a receipt handle whose time is over (Amazon SQS API, ChangeMessageVisibility)."""


class CannotRedriveError(Exception):
    """A letter that has to stay; the text says why."""


@dataclass
class DeadLetterQueue:
    """A runtime's dead-letter queue, with the queue and the records that its letters go back to."""

    aws: Aws
    url: str
    queue_url: str
    runtime: str
    bucket: str
    _store: RecordStore = field(init=False)
    _held: dict[str, DeadLetter] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._store = RecordStore(_Awaited(self.aws.client("s3")), self.bucket)

    @property
    def _sqs(self) -> Any:
        return self.aws.client("sqs")

    @contextmanager
    def letters(self) -> Iterator[list[DeadLetter]]:
        """Yields all letters, hidden from everybody else meanwhile; those that were not moved are there again after."""
        try:
            empty = 0
            while empty < _EMPTY_RECEIVES:
                found = self._receive()
                empty = empty + 1 if not found.keys() - self._held.keys() else 0
                self._held |= found
            yield list(self._held.values())
        finally:
            self.hand_back(list(self._held.values()))

    def hand_back(self, letters: Iterable[DeadLetter]) -> None:
        """Lets others see letters again at once; those whose time is over are passed over."""
        for some in batched(letters, 10, strict=False):  # as many as one call takes
            entries = [
                {"Id": str(number), "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                for number, letter in enumerate(some)
            ]
            self._sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
            for letter in some:
                self._held.pop(letter.message_id, None)

    def _receive(self) -> dict[str, DeadLetter]:
        answer = self._sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=_LONG_POLL,
            VisibilityTimeout=_HELD,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return {message["MessageId"]: _letter(message) for message in answer.get("Messages", [])}

    def _renew(self, letter: DeadLetter) -> None:
        try:
            self._sqs.change_message_visibility(
                QueueUrl=self.url, ReceiptHandle=letter.receipt_handle, VisibilityTimeout=_HELD
            )
        except ClientError as error:
            if code_of(error) not in _NOT_OURS:
                raise
            raise CannotRedriveError(
                f"{letter.name}: somebody else has taken it, or it was held too long; redrive again"
            ) from error

    def move(self, letter: DeadLetter) -> None:
        """Sends a letter back to its queue, then deletes it here.

        Raises:
            CannotRedriveError: it is ours no more, its content is gone, or its record cannot be read or changed.
            botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach; the letter stays.
        """
        self._renew(letter)
        body = self._body(letter)
        self._sqs.send_message(
            QueueUrl=self.queue_url,
            MessageBody=body,
            MessageAttributes=string_attributes(fitting_attributes(body, {"runtime": self.runtime})),
        )
        self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=letter.receipt_handle)
        self._held.pop(letter.message_id, None)

    def _body(self, letter: DeadLetter) -> str:
        task = letter.task
        if task is None:
            return letter.body
        way = way_back(self._record(task.metadata), task)
        if way is not Way.TO_SETTLE:
            self._check_content(task)
        if way is Way.AS_IT_IS:
            self._note_sent(task.metadata)
        if way is not Way.ANEW:
            return letter.body
        now = datetime.now(UTC)
        again = resubmitted(task, next_submission(letter), now)
        transition = partial(submit, task=task.metadata.ref, new=as_submission(again, now))
        try:
            asyncio.run(self._store.change(task.metadata.ref, transition))
        except (TransitionError, ContendedRecordError) as error:
            raise CannotRedriveError(f"{task.metadata.id}: {error}") from error
        return self._encode(again)

    def _note_sent(self, metadata: Metadata) -> None:
        """Lets a task that SQS has buried wait anew: else it would expire as if it were as old as its submission."""
        sent = partial(send_again, submission=metadata.submission, now=datetime.now(UTC))
        try:
            asyncio.run(self._store.change(metadata.ref, sent, about=metadata.submission))
        except (UnknownSubmissionError, AlreadyEndedError):
            return  # an agent makes its record; or it ended just now
        except ContendedRecordError as error:
            raise CannotRedriveError(f"{metadata.id}: {error}") from error

    def _encode(self, task: TaskMessage) -> str:
        """Returns a message; its content goes to the bucket where a submission's own words made it too long."""
        message = encode_task_message(task)
        if task.content is None or message_bytes(message, {}) <= SNS_MESSAGE_LIMIT:
            return message
        key = payload_key(task.metadata.ref, task.metadata.submission)
        self.aws.client("s3").put_object(
            Bucket=self.bucket, Key=key, Body=json.dumps(task.content).encode(), ContentType="application/json"
        )
        return encode_task_message(task.model_copy(update={"content": None, "content_ref": s3_url(self.bucket, key)}))

    def _record(self, metadata: Metadata) -> Record | None:
        task = metadata.ref
        try:
            stored = asyncio.run(self._store.read(task, about=metadata.submission))
        except ValidationError as error:
            raise CannotRedriveError(
                f"{task.id}: its record s3://{self.bucket}/{record_key(task)} cannot be read; "
                "delete that object, and redrive again"
            ) from error
        return stored.record if stored else None

    def _check_content(self, task: TaskMessage) -> None:
        if task.content_ref is None:
            return
        bucket, key = split_s3_url(task.content_ref)
        try:
            self.aws.client("s3").head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if not is_absent(error):
                raise
            raise CannotRedriveError(
                f"{task.metadata.id}: its content {task.content_ref} is gone; submit the task again"
            ) from error


def _letter(message: dict[str, Any]) -> DeadLetter:
    reason = message.get("MessageAttributes", {}).get("reason", {}).get("StringValue")
    return DeadLetter(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        reason=reason or TOO_OFTEN,
        sent_at=int(message["Attributes"]["SentTimestamp"]),
    )


class _Awaited:
    """boto3's S3 client in the shape that the record store awaits."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    async def get_object(self, **arguments: Any) -> dict[str, Any]:
        answer = self._s3.get_object(**arguments)
        return {**answer, "Body": _Body(answer["Body"])}

    async def put_object(self, **arguments: Any) -> Any:
        return self._s3.put_object(**arguments)


class _Body:
    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._body.close()

    async def read(self) -> bytes:
        return bytes(self._body.read())

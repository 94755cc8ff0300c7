"""Reads a dead-letter queue, and moves its letters: record, send, delete, in this order, so that none is ever lost.

It lies in `contract` because the API and the tool `redrive` must not each have an idea of how a letter goes back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError
from pydantic import ValidationError

from contract.dead_letter import fitting_attributes
from contract.kept_request import ELSEWHERE
from contract.objects import payload_key, record_key, request_key, s3_url, split_s3_url
from contract.record import AlreadyEndedError, Record, TransitionError, UnknownSubmissionError, send_again, submit
from contract.redrive import TOO_OFTEN, DeadLetter, Way, as_submission, next_submission, resubmitted, way_back
from contract.store import ContendedRecordError, RecordStore, S3Client, error_code, is_absent, read_document
from contract.task import SNS_MESSAGE_LIMIT, Metadata, TaskMessage, encode_task_message, message_bytes
from contract.task_lists import TaskLists, Wait
from contract.topology import message_group, string_attributes

HELD: Final = 900
"""Seconds for which letters are ours: ten thousand are moved in that time. Each is renewed before it is moved."""

_EMPTY_RECEIVES: Final = 3
"""So many in a row mean that nothing is left."""

_LONG_POLL: Final = 1
"""Seconds of a look at the queue: any long poll asks all of SQS's servers, a short one a sample of them."""

_NOT_OURS: Final = frozenset({"InvalidParameterValue", "MessageNotInflight", "ReceiptHandleIsInvalid"})
"""What SQS says of a receipt handle whose time is over (Amazon SQS API, ChangeMessageVisibility)."""


class CannotRedriveError(Exception):
    """A letter that has to stay; the text says why."""


class LettersS3(S3Client, Protocol):
    """The part of an S3 client that is needed."""

    @property
    def head_object(self) -> Callable[..., Awaitable[Any]]:
        """Amazon S3 HeadObject."""


class LettersSqs(Protocol):
    """The part of an SQS client that is needed."""

    @property
    def receive_message(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SQS ReceiveMessage."""

    @property
    def send_message(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SQS SendMessage."""

    @property
    def delete_message(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SQS DeleteMessage."""

    @property
    def change_message_visibility(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SQS ChangeMessageVisibility."""

    @property
    def change_message_visibility_batch(self) -> Callable[..., Awaitable[Any]]:
        """Amazon SQS ChangeMessageVisibilityBatch."""


@dataclass(frozen=True, slots=True)
class Look:
    """How far a look at the queue goes."""

    most: int | None = None
    """Letters; None: all."""
    seconds: float | None = None
    """None: however long it takes."""
    most_held: int | None = None
    """Letters that are hidden from others meanwhile, whoever's they are."""
    whose: Callable[[DeadLetter], bool] = lambda _: True
    """Which letters are wanted; of others, the receipt alone is kept."""
    ids: Collection[str] = ()
    """Of messages: with all of them, it is over. Empty: any."""
    empty_receives: int | None = None
    """So many in a row end it; None: as many as make sure."""

    def is_enough(self, wanted: Collection[str], held: int) -> bool:
        """Tells whether the look is over, though there may be more."""
        if self.most_held is not None and held >= self.most_held:
            return True
        if self.ids:
            return all(name in wanted for name in self.ids)
        return self.most is not None and len(wanted) >= self.most


@dataclass(frozen=True, slots=True)
class Letters:
    """What a look has found."""

    found: list[DeadLetter]
    whole: bool
    """The queue had no more to give. What others hold is not seen."""


class DeadLetterQueue:
    """A runtime's dead-letter queue, with the queue and the records that its letters go back to.

    Args:
        sqs: the client.
        s3: the client.
        url: of the dead-letter queue.
        queue_url: of the queue that letters go back to.
        runtime: whose they are.
        bucket: the output bucket.
        held: seconds for which letters that were received are hidden from others, should this process die.
        lists: where tasks are listed that run as a new submission; None: the same bucket's.
    """

    def __init__(
        self,
        *,
        sqs: LettersSqs,
        s3: LettersS3,
        url: str,
        queue_url: str,
        runtime: str,
        bucket: str,
        held: int = HELD,
        lists: TaskLists | None = None,
    ) -> None:
        self._sqs = sqs
        self._s3 = s3
        self._url = url
        self._queue_url = queue_url
        self._runtime = runtime
        self._bucket = bucket
        self._seconds = held
        self._store = RecordStore(s3, bucket)
        self._lists = lists or TaskLists(s3, bucket)
        self._listed: list[Wait] = []
        self._held: dict[str, DeadLetter] = {}

    @asynccontextmanager
    async def letters(self, look: Look = Look()) -> AsyncIterator[Letters]:
        """Yields letters, hidden from everybody else meanwhile; those that were not moved are there again after."""
        try:
            wanted = dict[str, DeadLetter]()
            whole = await self._take(look, wanted)
            yield Letters(list(wanted.values()), whole)
        finally:
            await self.hand_back(list(self._held.values()))
            for listed in self._listed:
                await listed()
            self._listed.clear()

    async def _take(self, look: Look, wanted: dict[str, DeadLetter]) -> bool:
        """Receives until it is enough; returns whether the queue had no more."""
        empty, loop = 0, asyncio.get_running_loop()
        end = None if look.seconds is None else loop.time() + look.seconds
        while not look.is_enough(wanted, len(self._held)):
            if end is not None and loop.time() > end:
                return False
            found = await self._receive()
            empty = empty + 1 if not found.keys() - self._held.keys() else 0
            for name, letter in found.items():
                mine = look.whose(letter) and (not look.ids or name in look.ids)
                self._held[name] = letter if mine else replace(letter, body="")
                if mine:
                    wanted[name] = letter
            if empty >= (look.empty_receives or _EMPTY_RECEIVES):
                return True
        return False

    async def hand_back(self, letters: Iterable[DeadLetter]) -> None:
        """Lets others see letters again at once; those whose time is over are passed over."""
        for some in batched(letters, 10, strict=False):  # as many as one call takes
            entries = [
                {"Id": str(number), "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                for number, letter in enumerate(some)
            ]
            await self._sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            for letter in some:
                self._held.pop(letter.message_id, None)

    async def _receive(self) -> dict[str, DeadLetter]:
        answer = await self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=10,
            WaitTimeSeconds=_LONG_POLL,
            VisibilityTimeout=self._seconds,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        )
        return {message["MessageId"]: _letter(message) for message in answer.get("Messages", [])}

    async def _renew(self, letter: DeadLetter) -> None:
        try:
            await self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=letter.receipt_handle, VisibilityTimeout=self._seconds
            )
        except ClientError as error:
            if error_code(error).rpartition(".")[2] not in _NOT_OURS:
                raise
            raise CannotRedriveError(
                f"{letter.name}: somebody else has taken it, or it was held too long; redrive again"
            ) from error

    async def move(self, letter: DeadLetter) -> None:
        """Sends a letter back to its queue, then deletes it here.

        Raises:
            CannotRedriveError: it is ours no more, its content is gone, or its record cannot be read or changed.
            botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach; the letter stays.
        """
        await self._renew(letter)
        body = await self._body(letter)
        await self._sqs.send_message(
            QueueUrl=self._queue_url,
            MessageBody=body,
            MessageAttributes=string_attributes(fitting_attributes(body, {"runtime": self._runtime})),
            **message_group(letter.task.metadata.tenant if letter.task else ""),
        )
        await self._delete(letter)

    async def drop(self, letter: DeadLetter) -> None:
        """Deletes a letter whose task has ended, or which holds none.

        Raises:
            CannotRedriveError: it is ours no more, or its task has not ended: nothing else may be left that ends it.
            botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach; the letter stays.
        """
        await self._renew(letter)
        task = letter.task
        if task is not None:
            record = await self.record(task.metadata)
            found = record.find(task.metadata.submission) if record is not None else None
            if found is not None and not found.status.terminal:
                raise CannotRedriveError(
                    f"{letter.name}: its task has not ended, it is {found.status}; send it back, or cancel it first"
                )
        await self._delete(letter)

    async def _delete(self, letter: DeadLetter) -> None:
        await self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt_handle)
        self._held.pop(letter.message_id, None)

    async def _body(self, letter: DeadLetter) -> str:
        task = letter.task
        if task is None:
            return letter.body
        record = await self.record(task.metadata)
        way = way_back(record, task)
        if way is not Way.TO_SETTLE:
            await self._check_content(task)
        if way is Way.AS_IT_IS:
            await self._note_sent(task.metadata)
        if way is not Way.ANEW:
            return letter.body
        now = datetime.now(UTC)
        again = resubmitted(task, next_submission(letter), now)
        kept = await self._kept(record, task.metadata, again.metadata.submission)
        new = as_submission(again, now)
        transition = partial(submit, task=task.metadata.ref, new=new, request=kept)
        try:
            stored = await self._store.change(task.metadata.ref, transition)
        except (TransitionError, ContendedRecordError) as error:
            raise CannotRedriveError(f"{task.metadata.id}: {error}") from error
        # A list shows a task where its newest submission is. As the record has it: it may have been written before.
        listed = stored.record.find(new.submission) or new
        self._listed.append(
            self._lists.submitted(
                task.metadata.ref, new.submission, runtime=new.runtime, tasktype=new.tasktype, at=listed.submitted_at
            )
        )
        return await self._encode(again)

    async def _kept(self, record: Record | None, metadata: Metadata, submission: str) -> str:
        """Returns what the record keeps of the request, for the new submission; empty: nothing is kept."""
        if record is None or record.current.submission != metadata.submission:
            return ""
        if record.request != ELSEWHERE:
            return record.request
        document = await read_document(self._s3, self._bucket, request_key(metadata.ref, metadata.submission))
        if document is None:
            return ""  # it has expired
        await self._s3.put_object(
            Bucket=self._bucket,
            Key=request_key(metadata.ref, submission),
            Body=document[0],
            ContentType="application/json",
        )
        return ELSEWHERE

    async def _note_sent(self, metadata: Metadata) -> None:
        """Lets a task that SQS has buried wait anew: else it would expire as if it were as old as its submission."""
        sent = partial(send_again, submission=metadata.submission, now=datetime.now(UTC))
        try:
            await self._store.change(metadata.ref, sent, about=metadata.submission)
        except (UnknownSubmissionError, AlreadyEndedError):
            return  # an agent makes its record; or it ended just now
        except ContendedRecordError as error:
            raise CannotRedriveError(f"{metadata.id}: {error}") from error

    async def _encode(self, task: TaskMessage) -> str:
        """Returns a message; its content goes to the bucket where a submission's own words made it too long."""
        message = encode_task_message(task)
        if task.content is None or message_bytes(message, {}) <= SNS_MESSAGE_LIMIT:
            return message
        key = payload_key(task.metadata.ref, task.metadata.submission)
        await self._s3.put_object(
            Bucket=self._bucket, Key=key, Body=json.dumps(task.content).encode(), ContentType="application/json"
        )
        return encode_task_message(task.model_copy(update={"content": None, "content_ref": s3_url(self._bucket, key)}))

    async def record(self, metadata: Metadata) -> Record | None:
        """Returns the record of a letter's task, with the letter's submission in it if there is one.

        Raises:
            CannotRedriveError: it cannot be read.
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach.
        """
        task = metadata.ref
        try:
            stored = await self._store.read(task, about=metadata.submission)
        except ValidationError as error:
            raise CannotRedriveError(
                f"{task.id}: its record s3://{self._bucket}/{record_key(task)} cannot be read; "
                "delete that object, and redrive again"
            ) from error
        return stored.record if stored else None

    async def _check_content(self, task: TaskMessage) -> None:
        if task.content_ref is None:
            return
        bucket, key = split_s3_url(task.content_ref)
        if bucket != self._bucket:
            return  # a foreign publisher's, which its agent reads or refuses
        try:
            await self._s3.head_object(Bucket=bucket, Key=key)
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

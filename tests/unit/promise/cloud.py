"""S3, SNS and SQS in memory, behind a network in which each call waits until a test says what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from itertools import count
from typing import Any, Final, Self

from botocore.exceptions import ClientError, EndpointConnectionError

from contract.objects import LISTS
from contract.s3 import Listed
from contract.task_lists import WAIT_SECONDS

TASKS, CALLBACKS, BUCKET = "arn:aws:sns:us-east-1:0:tasks", "arn:aws:sns:us-east-1:0:callbacks", "bucket"

WRITTEN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When everything was written, by S3's clock."""
LATER: Final = WRITTEN + timedelta(hours=1)
"""When a sweep looks."""

operation: ContextVar[int] = ContextVar("operation", default=0)
"""For whom a call is made."""


class Fate(StrEnum):
    """What becomes of a call."""

    DONE = "done"
    REFUSED = "refused"
    """It never arrives; its caller gets an error."""
    LOST = "lost"
    """It is done, and its caller gets an error."""


@dataclass
class Process:
    """An API or an agent, which may be killed; `tasks` are what it does."""

    name: str
    dead: bool = False
    ahead: timedelta = timedelta()
    """By which its clock is fast."""
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    def kill(self) -> None:
        """Ends it in the middle of everything. Calls that it has sent may arrive all the same."""
        self.dead = True
        for task in self.tasks:
            task.cancel()


@dataclass(eq=False)
class Call:
    """A call that waits in the network."""

    process: Process
    operation: int
    name: str
    act: Callable[[], Any]
    answer: asyncio.Future[Any]
    key: str = ""
    """Of the object that it is about."""
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def abandoned(self) -> bool:
        """Whether its caller waits no more."""
        return self.answer.done()


class Network:
    """All calls that are under way."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.calm = False
        """Everything arrives at once."""
        self.lists_failed = False
        """Nobody waits for a list that S3 refuses, or answers late: it may lack a task when its writer dies."""
        self.out_of_reach: set[str] = set()
        """Names of calls that are refused, whoever makes them."""

    async def call(self, process: Process, name: str, act: Callable[[], Any], key: str = "") -> Any:
        """Makes a call for a process, and waits for its answer."""
        if process.dead:
            raise asyncio.CancelledError
        if self.calm:
            return act()
        call = Call(process, operation.get(), name, act, asyncio.get_running_loop().create_future(), key)
        self.calls.append(call)
        return await call.answer

    def let(self, call: Call, fate: Fate) -> None:
        """Ends a call."""
        self.calls.remove(call)
        if call.name in self.out_of_reach:
            fate = Fate.REFUSED
        late = call.answer.get_loop().time() - call.began >= WAIT_SECONDS / 2
        if call.key.startswith(LISTS) and (fate is not Fate.DONE or late):
            self.lists_failed = True
        lost: Exception = EndpointConnectionError(endpoint_url="http://nowhere")
        try:
            answer = None if fate is Fate.REFUSED else call.act()
        except ClientError as error:
            lost, fate = error, Fate.LOST
        if call.abandoned:
            return
        if fate is Fate.DONE:
            call.answer.set_result(answer)
        else:
            call.answer.set_exception(lost)


def refused(code: str, status: int) -> ClientError:
    """Returns an answer of AWS that is no success."""
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Call")  # type: ignore[typeddict-item]


class Body:
    """An object's content, as the clients hand it out."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> bytes:
        return self._data


@dataclass
class Message:
    """One message of the queue."""

    body: str
    visible: bool = True
    receives: int = 0


class Cloud:
    """One bucket, two topics, one queue and its dead letters."""

    def __init__(self) -> None:
        self.network = Network()
        self.objects: dict[str, tuple[bytes, str]] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.wrote: Callable[[str, bytes], None] = lambda *_: None
        """Told of each object that is written."""
        self.messages: OrderedDict[str, Message] = OrderedDict()
        self.dead_letters: list[str] = []
        self.callbacks: list[tuple[str, dict[str, Any]]] = []
        """Submission and body of each."""
        self.published: set[str] = set()
        """Submissions whose message has come to the queue."""
        self._numbers = count(1)

    def client(self, process: Process) -> Client:
        """Returns what a process uses as its clients of all three services."""
        return Client(self, process)

    def act(self, name: str, arguments: dict[str, Any]) -> Any:
        """Does a call."""
        return getattr(self, f"_{name}")(**arguments)

    def _get_object(self, Key: str, IfNoneMatch: str = "", **_: Any) -> Any:  # noqa: N803 - AWS's names
        if Key not in self.objects:
            raise refused("NoSuchKey", 404)
        data, etag = self.objects[Key]
        if etag == IfNoneMatch:
            raise refused("304", 304)
        return {"Body": Body(data), "ETag": etag, "ContentLength": len(data), "LastModified": WRITTEN}

    def _put_object(
        self,
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        Metadata: dict[str, str] | None = None,  # noqa: N803
        IfMatch: str = "",  # noqa: N803
        IfNoneMatch: str = "",  # noqa: N803
        **_: Any,
    ) -> Any:
        there = self.objects.get(Key)
        if (IfNoneMatch and there) or (IfMatch and (there is None or there[1] != IfMatch)):
            raise refused("PreconditionFailed", 412)
        etag = str(next(self._numbers))
        self.objects[Key] = (Body, etag)
        self.metadata[Key] = Metadata or {}
        self.wrote(Key, Body)
        return {"ETag": etag}

    def _head_object(self, Key: str, **_: Any) -> Any:  # noqa: N803
        if Key not in self.objects:
            raise refused("404", 404)
        return {"ETag": self.objects[Key][1], "Metadata": self.metadata[Key]}

    def _delete_object(self, Key: str, **_: Any) -> Any:  # noqa: N803
        self.objects.pop(Key, None)

    def _head_bucket(self, **_: Any) -> Any:
        return {"ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(LATER, usegmt=True)}}}

    def _list_objects(self, Prefix: str) -> list[str]:  # noqa: N803
        return sorted(key for key in self.objects if key.startswith(Prefix))

    def _list_objects_v2(self, Prefix: str, **_: Any) -> Any:  # noqa: N803
        return {"Contents": [{"Key": key} for key in self._list_objects(Prefix)], "IsTruncated": False}

    def _publish(self, TopicArn: str, Message: str, MessageAttributes: dict[str, Any]) -> Any:  # noqa: N803
        document = json.loads(Message)
        if TopicArn == CALLBACKS:
            self.callbacks.append((MessageAttributes["submission"]["StringValue"], document))
        else:
            self.published.add(document["metadata"]["submission"])
            self.put_message(Message)
        return {"MessageId": "m"}

    def _publish_batch(self, TopicArn: str, PublishBatchRequestEntries: list[dict[str, Any]]) -> Any:  # noqa: N803
        for entry in PublishBatchRequestEntries:
            self._publish(TopicArn, entry["Message"], entry["MessageAttributes"])
        return {"Successful": [{"Id": entry["Id"], "MessageId": "m"} for entry in PublishBatchRequestEntries]}

    def put_message(self, body: str) -> None:
        """Puts a message into the queue."""
        self.messages[f"message-{next(self._numbers)}"] = Message(body)

    def _delete_message(self, ReceiptHandle: str, **_: Any) -> Any:  # noqa: N803
        self.messages.pop(ReceiptHandle, None)

    def _delete_message_batch(self, Entries: list[dict[str, Any]], **_: Any) -> Any:  # noqa: N803
        for entry in Entries:
            self._delete_message(entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}

    def _change_message_visibility_batch(self, Entries: list[dict[str, Any]], **_: Any) -> Any:  # noqa: N803
        for entry in Entries:
            if message := self.messages.get(entry["ReceiptHandle"]):
                message.visible = True
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}

    def _send_message(self, MessageBody: str, **_: Any) -> Any:  # noqa: N803
        self.dead_letters.append(MessageBody)


class Client:
    """Makes a process's calls through the network."""

    def __init__(self, cloud: Cloud, process: Process) -> None:
        self._cloud = cloud
        self._process = process

    async def list_folder(self, *, Prefix: str, **_: Any) -> AsyncIterator[Listed]:  # noqa: N803 - AWS's names
        """Lists what lies in a folder, as `contract.s3.S3` does."""
        for key in await self.list_objects(Prefix=Prefix):
            yield Listed(key, WRITTEN)

    def __getattr__(self, name: str) -> Any:
        async def call(**arguments: Any) -> Any:
            return await self._cloud.network.call(
                self._process, name, lambda: self._cloud.act(name, arguments), arguments.get("Key", "")
            )

        return call

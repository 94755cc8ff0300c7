"""A proxy before AWS that makes it fail as ordered, and notes what every process has really done there.

Each process signs with an access key of its own, which is how the proxy knows who calls. A write goes on even when
its caller dies or hangs up, so that the history has what AWS has.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

from aiohttp import web

from contract.objects import RECORDS
from tests.chaos.history import History, Kind
from tests.support.proxy import Call, FaultProxy, Match, _identify, _Rule

_DEAD_LETTERS: Final = "-dlq"
_CALLER: Final = re.compile(r"Credential=([^/]+)/")


class NotingProxy(FaultProxy):
    """A `FaultProxy` that writes a history.

    Args:
        upstream: AWS's address.
        history: is told of everything that was done.
        callback_topic: its ARN; what is published to others is no callback.
    """

    def __init__(self, upstream: str, history: History, *, callback_topic: str) -> None:
        super().__init__(upstream)
        self._history = history
        self._callback_topic = callback_topic
        self._under_way: set[asyncio.Task[web.Response]] = set()
        self.messages: dict[str, str] = {}
        """The body of each task message that was published, by its request."""
        self.recorded: set[str] = set()
        """Ids of tasks that have a record."""
        self.uploads: dict[str, dict[str, str]] = defaultdict(dict)
        """The results of each task, by its id: key, and who has stored it."""

    def fail(self, match: Match, *, status: int | None = None, lose: bool = False) -> Callable[[], None]:
        """Lets matching calls fail, by an error or by losing the answer, until the returned function is called."""
        rule = _Rule(match, status=status, lose=lose)
        self._rules.append(rule)
        return lambda: self._rules.remove(rule)

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        call = _identify(request, body)
        if call.operation == "ReceiveMessage":
            # A poll ends with its caller: going on, it would take a message that nobody gets.
            asked = time.time()
            answer = await super()._forward(request, body)
            self._note(request, call, asked, answer)
            return answer
        task = asyncio.create_task(self._forward_and_note(request, call))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _forward_and_note(self, request: web.Request, call: Call) -> web.Response:
        asked = time.time()
        answer = await super()._forward(request, call.body)
        self._note(request, call, asked, answer)
        return answer

    def _note(self, request: web.Request, call: Call, asked: float, answer: web.Response) -> None:
        if answer.status >= 300:
            return
        found = _CALLER.search(request.headers.get("Authorization", ""))
        who = found[1] if found else ""
        asked = round(asked, 4)
        match call.service, call.operation:
            case "s3", "PutObject" | "DeleteObject":
                self._note_object(request, call, answer, who=who, asked=asked)
            case "sqs", "ReceiveMessage":
                for message in _json(answer.body).get("Messages", []):
                    task, submission = message_of(message["Body"])
                    self._history.add(
                        Kind.RECEIVED,
                        who=who,
                        message=message["MessageId"],
                        receipt=message["ReceiptHandle"],
                        task=task,
                        submission=submission or message["MessageId"],
                    )
            case "sqs", "DeleteMessage" | "DeleteMessageBatch":
                document = _json(call.body)
                for entry in document.get("Entries", [document]):
                    self._history.add(Kind.DELETED, who=who, receipt=entry["ReceiptHandle"], asked=asked)
            case "sqs", "SendMessage":
                self._note_sent(_json(call.body), who=who, asked=asked)
            case "sns", "Publish" | "PublishBatch":
                form = dict(parse_qsl(call.body.decode()))
                if form.get("TopicArn") == self._callback_topic:
                    for text, submission in published(form):
                        self._history.add(
                            Kind.PUBLISHED, who=who, submission=submission, body=json.loads(text), asked=asked
                        )
                else:
                    for text, group in grouped(form):
                        self.messages[request_of(text)] = text
                        self._note_group(text, group, who=who)

    def _note_sent(self, document: dict[str, Any], *, who: str, asked: float) -> None:
        submission = document.get("MessageAttributes", {}).get("submission", {}).get("StringValue", "")
        body = document["MessageBody"]
        self._note_group(body, document.get("MessageGroupId", ""), who=who)
        if document["QueueUrl"].endswith(_DEAD_LETTERS):
            self._history.add(Kind.BURIED, who=who, submission=submission, body=body[:2000], asked=asked)
        else:
            self._history.add(Kind.RESENT, who=who, submission=message_of(body)[1], asked=asked)

    def _note_group(self, body: str, group: str, *, who: str) -> None:
        if group != tenant_of(body):
            self._history.add(Kind.UNGROUPED, who=who, submission=message_of(body)[1], group=group)

    def _note_object(self, request: web.Request, call: Call, answer: web.Response, *, who: str, asked: float) -> None:
        key = call.resource.partition("/")[2]
        if call.operation == "PutObject" and key.startswith(RECORDS):
            task = key.removeprefix(RECORDS).removesuffix(".json")
            self.recorded.add(task)
            self._history.add(
                Kind.WRITE,
                who=who,
                task=task,
                record=_json(call.body),
                replaced=request.headers.get("If-Match", "").strip('"'),
                etag=answer.headers.get("ETag", "").strip('"'),
                asked=asked,
            )
        else:
            if call.operation == "PutObject" and not key.startswith("."):
                self.uploads[key.split("/")[-2]][key] = who
            self._history.add(
                Kind.OBJECT,
                who=who,
                key=key,
                deleted=call.operation == "DeleteObject",
                etag=answer.headers.get("ETag", "").strip('"'),
                asked=asked,
            )


def message_of(body: str) -> tuple[str, str]:
    """Returns task id and submission of a message's body; empty where it has none."""
    try:
        metadata = json.loads(body)["metadata"]
        return str(metadata["id"]), str(metadata.get("submission") or "")
    except (ValueError, KeyError, TypeError):
        return "", ""


def tenant_of(body: str) -> str:
    """Returns whose task a message is about; empty: nobody's."""
    try:
        return str(json.loads(body)["metadata"].get("tenant", ""))
    except (ValueError, KeyError, TypeError):
        return ""


def request_of(body: str) -> str:
    """Returns which request a task message is about; empty when it does not say."""
    context = json.loads(body)["metadata"].get("context")
    return str(context.get("request", "")) if isinstance(context, dict) else ""


def published(form: dict[str, str]) -> list[tuple[str, str]]:
    """Returns message and `submission` attribute of each message of a Publish or PublishBatch form."""
    found = []
    for name, text in form.items():
        if name == "Message" or name.endswith(".Message"):
            prefix = name.removesuffix("Message")
            attributes = {
                form[other]: form.get(f"{other.removesuffix('.Name')}.Value.StringValue", "")
                for other in form
                if other.startswith(f"{prefix}MessageAttributes.entry.") and other.endswith(".Name")
            }
            found.append((text, attributes.get("submission", "")))
    return found


def _json(data: Any) -> Any:
    return json.loads(bytes(data))


def grouped(form: dict[str, str]) -> list[tuple[str, str]]:
    """Returns message and message group of each message of a Publish or PublishBatch form."""
    return [
        (text, form.get(f"{name.removesuffix('Message')}MessageGroupId", ""))
        for name, text in form.items()
        if name == "Message" or name.endswith(".Message")
    ]

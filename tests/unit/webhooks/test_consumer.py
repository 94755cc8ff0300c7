"""What a deliverer that dies leaves pending is brought to its end by the nudge that comes back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest

from contract.deliveries import Attempt, Ledger
from contract.identifiers import TaskRef
from contract.links import Links
from contract.objects import ledger_key, record_key
from contract.record import Record, Status, Submission
from contract.task import TaskType
from contract.topology import string_attributes
from contract.webhook_secrets import Secrets
from contract.webhooks import Nudge, Webhook
from tests.unit.promise.cloud import BUCKET, Cloud
from webhooks.consumer import Consumer
from webhooks.deliverer import Deliverer
from webhooks.metrics import Metrics
from webhooks.policy import Rules, Verdict, after_attempt, note_news
from webhooks.receivers import Receivers
from webhooks.sender import Sender

TASK = TaskRef("x")
NOW = datetime.now(UTC)
ENDED = Submission(
    submission="01A",
    runtime="r",
    tasktype=TaskType.PIPELINE,
    prefix="p",
    submitted_at=NOW,
    status=Status.SUCCEEDED,
    finished_at=NOW,
    webhook=Webhook(url="https://example.com/"),
)


class Queue:
    def __init__(self, *messages: Mapping[str, Any]) -> None:
        self.messages = list(messages)
        self.sent: list[dict[str, Any]] = []
        self.deleted: list[str] = []

    async def receive_message(self, **arguments: Any) -> Any:
        message = self.messages.pop()
        wanted = arguments.get("MessageSystemAttributeNames", [])
        told = {name: value for name, value in message["Attributes"].items() if name in wanted}
        return {"Messages": [{**message, "Attributes": told}]}

    async def send_message(self, **arguments: Any) -> Any:
        self.sent.append(arguments)

    async def delete_message(self, **arguments: Any) -> Any:
        self.deleted.append(arguments["ReceiptHandle"])


class Store:
    """The bucket, without a network."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def get_object(self, **arguments: Any) -> Any:
        return self._cloud.act("get_object", arguments)

    async def put_object(self, **arguments: Any) -> Any:
        return self._cloud.act("put_object", arguments)


def left_by_one_who_died() -> Cloud:
    """An attempt was made and noted; the receiver has asked for an hour's peace."""
    cloud = Cloud()
    cloud.objects[record_key(TASK)] = (Record(id="x", current=ENDED).model_dump_json().encode(), "1")
    ledger = note_news(Ledger(id="x", submission="01A"), ENDED, NOW)
    ledger = after_attempt(
        ledger, 1, Attempt(at=NOW, status=429), Verdict.FAILED, now=NOW, rules=Rules(), jitter=0, retry_after=3600
    )
    cloud.objects[ledger_key(TASK, "01A")] = (ledger.model_dump_json().encode(), "2")
    return cloud


@pytest.mark.parametrize("anchor", [False, True])
@pytest.mark.parametrize(("received", "again"), [(1, False), (2, True)])
async def test_a_nudge_that_comes_back_waits_for_what_is_pending(received: int, again: bool, anchor: bool) -> None:
    s3 = Store(left_by_one_who_died())
    nudge = Nudge(TASK, "01A", anchor=anchor)
    queue = Queue(
        {
            "ReceiptHandle": "it",
            "MessageAttributes": string_attributes(nudge.attributes()),
            "Attributes": {"ApproximateReceiveCount": str(received)},
        }
    )
    deliverer = Deliverer(
        s3=s3,
        bucket=BUCKET,
        links=Links(mock.AsyncMock(), cdn_base_url="", seconds=60),
        secrets=lambda: Secrets.parse(""),
        sender=Sender(1),
        receivers=Receivers(1, 1),
        rules=Rules(),
        metrics=Metrics(),
        anchor_seconds=900,
        holder="me",
    )
    consumer = Consumer(queue, "q", dead_letter_url="d", deliverer=deliverer, parallel=1, visibility=60)

    [message] = await consumer._receive()
    await consumer._follow(message)

    assert queue.deleted == ["it"]
    if not again:
        assert queue.sent == [], "the one that made the attempt comes again for it"
        return
    [sent] = queue.sent
    told = Nudge.read(sent["MessageAttributes"])
    assert (told.owner, told.anchor, told.submission) == (True, anchor, "01A")
    assert 3500 < told.due - NOW.timestamp() <= 3601

"""A queue of the test's own on the callback topic, which gets the callbacks of its own tasks and no others."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
from botocore.exceptions import BotoCoreError, ClientError
from gevent.event import Event

from loadtest.clock import Clock
from loadtest.leftovers import queue_name
from loadtest.target import Aws, Place
from loadtest.tasks import Heard

_LISTENERS: Final = 4
"""Receives that wait at once: while one's messages are read, the next ones are under way."""
_WAIT: Final = 5
"""Seconds of a long poll."""
_RETENTION: Final = 3600
"""Seconds; a test that was killed leaves no heap of messages."""
_RETRY: Final = 1.0

_log = logging.getLogger(__name__)


class Inbox:
    """The queue of one process of a load test.

    Args:
        aws: to make it with.
        place: whose callback topic it is.
        prefix: with which the ids of this process's tasks begin; SNS sends it no other callbacks.
        hear: is told each callback with its task's id.
    """

    def __init__(self, aws: Aws, place: Place, prefix: str, hear: Callable[[str, Heard], None], clock: Clock) -> None:
        self._aws = aws
        self._place = place
        self._prefix = prefix
        self._hear = hear
        self._clock = clock
        self._closing = Event()
        self._url = ""
        self._subscription = ""
        self._deaf = False
        self._listeners: list[gevent.Greenlet[..., None]] = []

    def open(self) -> None:
        """Makes the queue, subscribes it, and listens.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: AWS is out of reach or refuses.
        """
        topic = self._place.callback_topic_arn
        name = queue_name(self._place, self._prefix)
        sqs = self._aws.sqs
        self._url = sqs.create_queue(QueueName=name, Attributes={"MessageRetentionPeriod": str(_RETENTION)})["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sqs.set_queue_attributes(QueueUrl=self._url, Attributes={"Policy": json.dumps(_policy(arn, topic))})
        self._subscription = self._aws.sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=arn,
            Attributes={
                "RawMessageDelivery": "true",
                "FilterPolicyScope": "MessageAttributes",
                "FilterPolicy": json.dumps({"id": [{"prefix": self._prefix}]}),
            },
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        self._listeners = [gevent.spawn(self._listen) for _ in range(_LISTENERS)]

    def close(self) -> None:
        """Removes the subscription and the queue; says so, and goes on, when that fails."""
        self._closing.set()
        gevent.killall(self._listeners, timeout=5)
        if self._subscription:
            self._remove(self._subscription, lambda: self._aws.sns.unsubscribe(SubscriptionArn=self._subscription))
        if self._url:
            self._remove(self._url, lambda: self._aws.sqs.delete_queue(QueueUrl=self._url))
        self._subscription = self._url = ""

    @staticmethod
    def _remove(name: str, remove: Callable[[], object]) -> None:
        try:
            remove()
        except (BotoCoreError, ClientError) as error:
            _log.warning("%s could not be removed: %s", name, error)

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                self._receive()
            except (BotoCoreError, ClientError) as error:
                self._say(f"cannot listen for callbacks, trying again: {error}")
                self._closing.wait(_RETRY)
            else:
                self._say("")

    def _say(self, trouble: str) -> None:
        """Says that callbacks cannot be heard, and that they can again: once, however long it lasts."""
        if bool(trouble) != self._deaf:
            self._deaf = bool(trouble)
            _log.warning("%s", trouble or "callbacks are listened for again")

    def _receive(self) -> None:
        messages = self._aws.sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=_WAIT, MessageAttributeNames=["id"]
        ).get("Messages", [])
        now = self._clock.now()
        for message in messages:
            found = read_callback(message["Body"], now)
            if found is None:
                _log.warning("a message on %s is no callback: %.200s", self._url, message["Body"])
                continue
            self._hear(*found)
        if messages:
            self._aws.sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )


def read_callback(body: str, now: float) -> tuple[str, Heard] | None:
    """Returns a callback's task id and what it says; None when it is no callback."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        return None
    return document["id"], Heard(at=now, result=document.get("result") is True, digest=digest(document))


def digest(document: Mapping[str, Any]) -> str:
    """Returns a short text that is equal for equal callbacks."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def _policy(queue_arn: str, topic_arn: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
            }
        ],
    }

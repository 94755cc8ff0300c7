"""A queue of the sink's own on the callback topic, and the thread that listens to it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from contract.heard_callbacks import Heard, parse
from contract.topology import Topology
from local.clients import Clients

RETRY: Final = 1.0
"""Seconds between attempts while LocalStack is out of reach."""

_log = logging.getLogger(__name__)


def queue_name(place: Topology) -> str:
    """Returns the name of the sink's queue; it is nobody's but the sink's, and only local."""
    return f"{place.callback_topic}-sink"


def subscribe(clients: Clients, place: Topology) -> str:
    """Subscribes the sink's queue to the callback topic; returns the queue's URL. Changes nothing a second time."""
    url = clients.sqs.create_queue(QueueName=queue_name(place))["QueueUrl"]
    clients.sns.subscribe(
        TopicArn=place.callback_topic_arn,
        Protocol="sqs",
        Endpoint=place.queue_arn(queue_name(place)),
        Attributes={"RawMessageDelivery": "true"},
    )
    return url


class Listener(threading.Thread):
    """Long-polls the sink's queue for ever; a daemon, so that nothing waits for a poll at the end.

    Args:
        clients: to listen with.
        place: whose callback topic it is.
        hear: is told each callback, in this thread.
    """

    def __init__(self, clients: Clients, place: Topology, hear: Callable[[Heard], None]) -> None:
        super().__init__(name="callbacks", daemon=True)
        self.listening = threading.Event()
        """Set while the subscription is known to exist."""
        self._clients = clients
        self._place = place
        self._hear = hear

    def run(self) -> None:
        """Subscribes and listens; begins anew when LocalStack has been away, since it forgets everything."""
        pause = threading.Event()
        while True:
            try:
                url = subscribe(self._clients, self._place)
                self.listening.set()
                while True:
                    self._receive(url)
            except (BotoCoreError, ClientError) as error:
                self.listening.clear()
                _log.warning("cannot listen for callbacks, trying again: %s", error)
                pause.wait(RETRY)

    def _receive(self, url: str) -> None:
        messages = self._clients.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=20, MessageAttributeNames=["All"]
        ).get("Messages", [])
        for message in messages:
            self._hear(parse(message, datetime.now(UTC)))
        if messages:
            self._clients.sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )

"""The test's own queue: it goes with the test, even when a part of what was made cannot be removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from moto.server import ThreadedMotoServer

from loadtest.clock import Clock
from loadtest.inbox import Inbox
from loadtest.target import Aws, Place, connect

NAME = f"{'long' * 17}-callbacks"
TOPIC = f"arn:aws:sns:us-east-1:123456789012:{NAME}"


@contextmanager
def emulator() -> Iterator[tuple[ThreadedMotoServer, Aws]]:
    """Yields an emulator, and clients of it; several of them share what is in them."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield server, connect(Place(f"http://{host}:{port}", "us-east-1", TOPIC, "bucket", {}))
    finally:
        server.stop()


def inbox(aws: Aws) -> Inbox:
    return Inbox(aws, Place("", "us-east-1", TOPIC, "bucket", {}), "lt-1-", lambda _id, _heard: None, Clock())


def queues(aws: Aws) -> list[str]:
    return aws.sqs.list_queues(QueueNamePrefix="longlong").get("QueueUrls", [])


def test_the_queue_is_removed_though_sns_is_out_of_reach() -> None:
    with emulator() as (sns, gone), emulator() as (_, aws):
        aws.sns.create_topic(Name=NAME)
        made = inbox(replace(aws, sns=gone.sns))
        made.open()
        [url] = queues(aws)
        assert url.endswith("-lt-1"), "a name of its own, however long the stack's is"
        sns.stop()
        made.close()
        assert queues(aws) == []

"""The test's own queue: it goes with the test, or with the next one, even when a part of it cannot be removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from moto.server import ThreadedMotoServer

from loadtest.clock import Clock
from loadtest.inbox import Inbox
from loadtest.leftovers import own_prefix, queue_name, sweep
from loadtest.target import Aws, Place, connect

NAME = f"{'long' * 17}-callbacks"
DAY = 86_400.0
TOPIC = f"arn:aws:sns:us-east-1:123456789012:{NAME}"
PLACE = Place("", "us-east-1", TOPIC, "bucket", {})


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


def inbox(aws: Aws, prefix: str = "lt-1-") -> Inbox:
    return Inbox(aws, PLACE, prefix, lambda _id, _heard: None, Clock())


def begun(at: float) -> str:
    return own_prefix(began=at, seconds=600, worker=0)


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


def test_the_next_test_removes_what_one_that_was_killed_left_and_nothing_of_one_that_runs() -> None:
    now = 1_800_000_000.0
    with emulator() as (_, aws):
        aws.sns.create_topic(Name=NAME)
        killed, running = (inbox(aws, begun(at)) for at in (now - DAY, now - 60))
        stack = replace(PLACE, callback_topic_arn="arn:x:longlong-callbacks")
        strangers = [NAME[:56], queue_name(stack, begun(now - DAY))]
        for made in (killed, running):
            made.open()
        for name in strangers:
            aws.sqs.create_queue(QueueName=name)
        [gone] = sweep(aws, PLACE, now)
        left = [url.rpartition("/")[2] for url in queues(aws)]
        assert gone not in left
        assert set(strangers) < set(left)
        assert len(left) == 3
        subscriptions = aws.sns.list_subscriptions_by_topic(TopicArn=TOPIC)["Subscriptions"]
        listening = {item["Endpoint"].rpartition(":")[2] for item in subscriptions}
        assert gone not in listening
        assert len(listening & set(left)) == 1
        assert sweep(aws, PLACE, now) == []
        running.close()
        killed.close()


def test_what_cannot_be_swept_stops_no_test() -> None:
    with emulator() as (server, aws):
        server.stop()
        assert sweep(aws, PLACE, 0.0) == []

"""Asks an emulator of AWS, before anybody relies on it, whether it does what this service leans on.

Emulators differ where nobody looks: one takes a filter policy and delivers nothing, another lets every writer win a
conditional write. Then tasks wait for ever or run twice, and nothing says why.
"""

from __future__ import annotations

import json
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from contract.topology import Topology, string_attributes
from local.clients import Clients

MESSAGE_SECONDS: Final = 5
"""How long a message may take from SNS to SQS; a few hundredths are usual."""

WRITERS: Final = 4
"""Racing for one key."""

_RUNTIME: Final = "probe"
_FILTER: Final = {"$or": [{"runtime": [_RUNTIME]}, {"sd_model_checkpoint": [f"{_RUNTIME}.safetensors"]}]}
"""In the form of a static runtime's (`contract/topology.py:filter_policy`)."""

_FOR_US: Final = "a message for this queue"
_FOR_ANOTHER: Final = "another queue's message"

_PAGE: Final = "http://a-page-of-another-site.example"

_HEALTH_PAGES: Final = {"/_ministack/health": "MiniStack", "/_localstack/health": "LocalStack", "/moto-api/": "moto"}
"""Pages that only one emulator has, or has first: others copy LocalStack's."""


@dataclass(frozen=True)
class Findings:
    """What an emulator lacks, each in a sentence that says what would come of it."""

    broken: tuple[str, ...] = ()
    """No task would run."""
    missing: tuple[str, ...] = ()
    """Tasks run, but a promise of the service does not hold."""


class UnfitEmulatorError(Exception):
    """An emulator on which no task would run; one sentence for each reason."""


def name_of(endpoint: str) -> str:
    """Returns what answers at an endpoint, such as `LocalStack 2026.3.0`; `the emulator` when it does not say."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for page, name in _HEALTH_PAGES.items():
        try:
            with direct.open(f"{endpoint}{page}", timeout=3) as answer:
                text = answer.read(100_000)
        except (OSError, ValueError):
            continue
        if name == "moto":
            return name
        with suppress(ValueError):
            document = json.loads(text)
            if isinstance(document, dict) and "services" in document:
                return f"{name} {document.get('version', '')}".rstrip()
    return "the emulator"


def examine(clients: Clients, place: Topology) -> Findings:
    """Returns what an emulator lacks; leaves nothing behind. Takes about a tenth of a second with LocalStack.

    Args:
        clients: of the emulator.
        place: whose output bucket is there already.

    Raises:
        botocore.exceptions.BotoCoreError: it cannot be reached.
        botocore.exceptions.ClientError: it refuses a call that every emulator has.
    """
    with ThreadPoolExecutor(1) as beside:
        writes = beside.submit(_look_at_writes, clients, place.output_bucket)
        broken = _look_at_messages(clients, place)
        return Findings(tuple(broken), (*writes.result(), *_look_at_web_pages(clients.endpoint)))


def check(clients: Clients, place: Topology, name: str) -> tuple[str, ...]:
    """Returns what is missing, by the emulator's name.

    Raises:
        UnfitEmulatorError: no task would run on it.
        botocore.exceptions.BotoCoreError: it cannot be reached.
        botocore.exceptions.ClientError: it refuses a call that every emulator has.
    """
    findings = examine(clients, place)
    if findings.broken:
        raise UnfitEmulatorError("\n".join(f"{name} {sentence}" for sentence in findings.broken))
    return tuple(f"{name} {sentence}" for sentence in findings.missing)


def _look_at_messages(clients: Clients, place: Topology) -> Iterator[str]:
    """Sends one message that a filter policy lets through, and one that it does not."""
    with _topic_and_queue(clients, place) as (topic, queue):
        for text, runtime in ((_FOR_ANOTHER, f"not-{_RUNTIME}"), (_FOR_US, _RUNTIME)):
            attributes = string_attributes({"runtime": runtime})
            clients.sns.publish(TopicArn=topic, Message=text, MessageAttributes=attributes)
        got = _received(clients, queue)
    bodies = [message["Body"] for message in got]
    if _FOR_US not in bodies:
        if any(_FOR_US in body for body in bodies):
            yield "ignores RawMessageDelivery: what SNS hands to a queue is no task"
        else:
            yield (
                f"delivered nothing from SNS to SQS within {MESSAGE_SECONDS} s (a topic, a queue, and a filter policy "
                "with $or): every task would wait for ever"
            )
    elif any(_FOR_ANOTHER in body for body in bodies):
        yield "ignores the filter policies of subscriptions: every runtime would get every task"
    elif not any(message.get("MessageAttributes", {}).get("runtime") for message in got):
        yield "loses message attributes between SNS and SQS: callbacks could not be told apart"


@contextmanager
def _topic_and_queue(clients: Clients, place: Topology) -> Iterator[tuple[str, str]]:
    """Yields a topic's ARN and the URL of a queue that is subscribed to it, and removes all of it."""
    name = f"{place.task_topic.removesuffix('-tasks')[:40]}-probe-{secrets.token_hex(4)}"
    topic = clients.sns.create_topic(Name=name)["TopicArn"]
    queue = subscription = ""
    try:
        queue = clients.sqs.create_queue(QueueName=name)["QueueUrl"]
        subscription = clients.sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=topic.replace(":sns:", ":sqs:"),
            Attributes={
                "RawMessageDelivery": "true",
                "FilterPolicyScope": "MessageAttributes",
                "FilterPolicy": json.dumps(_FILTER),
            },
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        yield topic, queue
    finally:
        with suppress(BotoCoreError, ClientError):  # what went wrong before is what counts
            if subscription:
                clients.sns.unsubscribe(SubscriptionArn=subscription)
            clients.sns.delete_topic(TopicArn=topic)
            if queue:
                clients.sqs.delete_queue(QueueUrl=queue)


def _received(clients: Clients, queue: str) -> list[Any]:
    """Returns what has arrived once our message has, or time is up."""
    got: list[Any] = []

    def receive(wait: int) -> None:
        answer = clients.sqs.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=wait, MessageAttributeNames=["All"]
        )
        got.extend(answer.get("Messages", []))

    deadline = time.monotonic() + MESSAGE_SECONDS
    while time.monotonic() < deadline and not any(_FOR_US in message["Body"] for message in got):
        receive(1)
    receive(0)  # deliveries overtake one another: what should not be here may come last
    return got


def _look_at_web_pages(endpoint: str) -> Iterator[str]:
    """Asks as a web page of another site does."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer = direct.open(urllib.request.Request(endpoint, headers={"Origin": _PAGE}), timeout=3)  # noqa: S310 - http
    except urllib.error.HTTPError as error:
        answer = error
    except OSError:
        return
    with answer:
        if answer.headers.get("Access-Control-Allow-Origin") in {"*", _PAGE}:
            yield "lets every web page that you open read and change what it holds (Access-Control-Allow-Origin: *)"


def _look_at_writes(clients: Clients, bucket: str) -> list[str]:
    """Lets several writers race for one key, and one overwrite what has changed meanwhile."""
    key = f".probe/{secrets.token_hex(8)}"

    def write(number: int, **condition: str) -> bool:
        try:
            clients.s3.put_object(Bucket=bucket, Key=key, Body=b"%d" % number, **condition)  # type: ignore[arg-type]
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in {409, 412}:
                raise
            return False
        return True

    try:
        with ThreadPoolExecutor(WRITERS) as pool:
            winners = sum(pool.map(lambda number: write(number, IfNoneMatch="*"), range(WRITERS)))
        stale_wins = write(WRITERS, IfMatch='"00000000000000000000000000000000"')
    finally:
        with suppress(BotoCoreError, ClientError):
            clients.s3.delete_object(Bucket=bucket, Key=key)
    sentences = []
    if winners != 1:
        sentences.append(
            f"ignores If-None-Match (of {WRITERS} writers of one key {winners} won): a task could be stored twice, "
            "and run twice"
        )
    if stale_wins:
        sentences.append("ignores If-Match: an agent could overwrite what another has recorded, a cancellation too")
    return sentences

"""Runs MiniStack on one address; a script for MiniStack's own environment, which has nothing of this project in it.

The command `ministack` is not used, for three reasons:

- At start and end it asks the Docker daemon for containers with its label and removes them, those of a MiniStack that
  somebody else runs too. It also opens a port for MQTT, and keeps schedulers; three services need none of it.
- It lets any web page read what it holds (`Access-Control-Allow-Origin: *` on every answer).
- It would outlive whoever started it (`serving.py`).

Five faults are mended:

- The long poll of a client that has gone (a killed agent) lives on, takes the next message, and hands it to nobody.
- A long poll looks for messages ten times a second; here it wakes up when one comes.
- What SNS cannot deliver to a queue is lost; here it goes where the subscription's redrive policy says.
- SNS hands no X-Ray header on to SQS.
- PublishBatch loses the group of a message (`MessageGroupId`), which SQS' fair queues go by.
"""

# mypy: disable-error-code="import-not-found"
from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

# This script is no part of a package where it runs.
sys.path.append(str(Path(__file__).parents[1] / "emulators"))

import serving

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

RECEIVE = b"AmazonSQS.ReceiveMessage"

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept; clients keep theirs for 60."""

_CORS = b"access-control-allow-origin"

_trace: ContextVar[str] = ContextVar("trace", default="")
_gone: ContextVar[asyncio.Event | None] = ContextVar("gone", default=None)


def main() -> None:
    """Reads the arguments, takes the port, and serves until a signal comes or the leash is let go."""
    arguments = serving.arguments_of(__doc__).parse_args()
    serving.end_with_others(leash=arguments.leash)
    listener = serving.first_listener("MiniStack", arguments)
    address, port = listener.getsockname()[:2]
    for name, value in settings(port).items():
        os.environ.setdefault(name, value)
    _serve(listener, serving.allowed_hosts(os.environ.get("ALLOWED_HOSTS", ""), address))


def settings(port: int) -> dict[str, str]:
    """Returns the environment that MiniStack is given, where the caller has not set it otherwise."""
    return {"SERVICES": "s3,sns,sqs", "GATEWAY_PORT": str(port), "LOG_LEVEL": "WARNING"}


def _serve(listener: socket.socket, allowed: frozenset[str] | None) -> None:
    # ruff: noqa: PLC0415 - MiniStack reads its environment when it is imported, so it is imported last.
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    wake = _Wake()
    _wake_long_polls(wake)
    _pass_on_what_sns_loses()
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.keep_alive_timeout = KEEP_ALIVE
    config.loglevel = "WARNING"

    async def run() -> None:
        wake.loop = asyncio.get_running_loop()
        await serve(guarded(app, allowed), config)

    asyncio.run(run())


def guarded(app: Application, allowed: frozenset[str] | None) -> Application:
    """Returns MiniStack's application behind a guard of names, and without its start and end."""

    async def application(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        foreign = allowed is not None and serving.refused_origin(allowed, origins) is not None
        if allowed is not None:
            hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
            refused = serving.first_refused(allowed, hosts)
            if refused is None and foreign and scope["method"] not in serving.READING:
                refused = origins[0]
            if refused is not None:
                await _refuse(refused, send)
                return
        fields = dict(headers)
        _trace.set(fields.get(b"x-amzn-trace-id", b"").decode("latin-1"))
        if fields.get(b"x-amz-target") == RECEIVE:
            with _listening_to_the_end(receive) as watched:
                await app(scope, watched, send)
        else:
            await app(scope, receive, _silent_to_pages(send) if foreign else send)

    return application


async def _live(receive: Receive, send: Send) -> None:
    """Answers the server's start and end in MiniStack's place."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


async def _refuse(host: str, send: Send) -> None:
    body = json.dumps(serving.refusal(host)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _silent_to_pages(send: Send) -> Send:
    """Returns a `send` that does not tell a browser that a foreign page may read the answer."""

    async def silent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [item for item in message["headers"] if item[0].lower() != _CORS]
        await send(message)

    return silent


@contextmanager
def _listening_to_the_end(receive: Receive) -> Iterator[Receive]:
    """Yields a `receive` whose connection is watched once the body is there: MiniStack does not look at it again."""
    gone = asyncio.Event()
    watching: asyncio.Task[None] | None = None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.set()

    async def watched() -> Message:
        nonlocal watching
        if watching is not None:
            await gone.wait()
            return {"type": "http.disconnect"}
        message = await receive()
        if message["type"] == "http.disconnect":
            gone.set()
        elif not message.get("more_body"):
            watching = asyncio.create_task(watch())
        return message

    _gone.set(gone)
    try:
        yield watched
    finally:
        if watching is not None:
            watching.cancel()


class _Wake:
    """What MiniStack sets whenever a message comes; wakes every long poll."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Event] = set()

    def set(self) -> None:
        """Wakes them; from any thread."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        for event in self._waiting:
            event.set()

    async def wait(self, seconds: float) -> None:
        """Returns after some seconds, when a message has come somewhere, or when the client has gone."""
        event = asyncio.Event()
        self._waiting.add(event)
        gone = _gone.get()
        tasks = [asyncio.create_task(item.wait()) for item in (event, gone) if item is not None]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.discard(event)
            for task in tasks:
                task.cancel()
        if gone is not None and gone.is_set():
            raise asyncio.CancelledError


def _wake_long_polls(wake: _Wake) -> None:
    """Makes a receive that waits wake up at a message, and give up when its connection is closed."""
    from ministack.services import sns, sqs

    class Clock:
        """In the place of the module `asyncio`, of which SQS uses these two alone."""

        iscoroutine = staticmethod(asyncio.iscoroutine)

        @staticmethod
        async def sleep(seconds: float) -> None:
            await wake.wait(seconds)

    sqs.asyncio = Clock
    sqs.esm_wake = sns.esm_wake = wake


class _Grouped(dict[str, Any]):
    """A message's attributes, which carry its group along to where it is delivered."""

    group = ""


def _pass_on_what_sns_loses() -> None:
    """Makes SNS hand on what it cannot deliver, the X-Ray header of the request and, in a batch, a message's group."""
    # ruff: noqa: SLF001 - there is no public way to any of this
    from ministack.services import sns, sqs

    complete, entries_of, fanout = sqs._ensure_msg_fields, sns._parse_batch_entries, sns._fanout
    deliver = sns._deliver_to_sqs

    def delivered_somewhere(queue_arn: str, *arguments: Any, topic_arn: str = "", **named: Any) -> None:
        if sqs._queue_by_arn(queue_arn) is None:
            queue_arn = _dead_letter_queue(sns._topic_by_arn_any_scope(topic_arn), queue_arn)
        deliver(queue_arn, *arguments, topic_arn=topic_arn, **named)

    def completed(message: dict[str, Any]) -> None:
        is_new = "sys" not in message
        complete(message)
        if is_new and _trace.get():
            message["sys"]["AWSTraceHeader"] = _trace.get()

    def grouped(params: Any) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = entries_of(params)
        for entry in entries:
            attributes = _Grouped(entry.get("message_attributes") or {})
            attributes.group = entry.get("message_group_id") or ""
            entry["message_attributes"] = attributes
        return entries

    def delivered(*arguments: Any, message_group_id: str = "", **named: Any) -> None:
        attributes = next((item for item in arguments if isinstance(item, _Grouped)), None)
        group = message_group_id or (attributes.group if attributes is not None else "")
        fanout(*arguments, message_group_id=group, **named)

    sqs._ensure_msg_fields, sns._parse_batch_entries, sns._fanout = completed, grouped, delivered
    sns._deliver_to_sqs = delivered_somewhere


def _dead_letter_queue(topic: dict[str, Any] | None, queue_arn: str) -> str:
    """Returns where a topic sends what it cannot deliver to a queue; the queue itself where nothing is said."""
    for subscription in (topic or {}).get("subscriptions", ()):
        if subscription.get("endpoint") == queue_arn:
            policy = json.loads(subscription.get("attributes", {}).get("RedrivePolicy") or "{}")
            return str(policy.get("deadLetterTargetArn", queue_arn))
    return queue_arn


if __name__ == "__main__":
    main()

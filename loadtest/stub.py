"""`python -m loadtest.stub`: an API, SNS, SQS and S3 that answer at once and do nothing, to measure the load generator.

It speaks just as much of each protocol as a load test does. Every task that is submitted succeeds at once: its callback
lies in the queue, and its record in the bucket.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import deque
from datetime import UTC, datetime
from typing import Final

from contract.record import Record, Status, Submission, Timings
from contract.task import TaskType

RUNTIME: Final = "sdruntime"
_WAIT: Final = 0.2
"""Seconds of a long poll."""
_SNS: Final = (
    "<{action}Response><{action}Result><SubscriptionArn>arn:aws:sns:us-east-1:000000000000:stub:1</SubscriptionArn>"
    "<Subscriptions/></{action}Result><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></{action}Response>"
)


class Stub:
    """The server's whole memory."""

    def __init__(self) -> None:
        self._callbacks: deque[str] = deque()
        self._record = _record()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                if "100-continue" in headers.get("expect", ""):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                kind, answer = await self._answer(first.split(" ")[0], first.split(" ")[1], headers, body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind.encode(), len(answer))
                )
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        if action:
            return "application/x-amz-json-1.0", json.dumps(await self._sqs(action, json.loads(body))).encode()
        if path == "/" and method == "POST":
            name = next(part[7:] for part in body.decode().split("&") if part.startswith("Action="))
            return "text/xml", _SNS.format(action=name).encode()
        if method == "GET" and path.endswith("/v1/runtimes"):
            return "application/json", json.dumps({"runtimes": [{"name": RUNTIME, "queue": None}]}).encode()
        if method == "GET":
            return "application/json", self._record
        task_id = json.loads(body)["task"]["metadata"]["id"]
        self._callbacks.append(task_id)
        return "application/json", json.dumps({"id_task": task_id, "runtime": RUNTIME}).encode()

    async def _sqs(self, action: str, request: dict[str, object]) -> dict[str, object]:
        match action:
            case "CreateQueue":
                return {"QueueUrl": "http://127.0.0.1/000000000000/stub"}
            case "GetQueueAttributes":
                return {"Attributes": {"QueueArn": "arn:aws:sqs:us-east-1:000000000000:stub"}}
            case "DeleteMessageBatch":
                entries = request["Entries"]
                assert isinstance(entries, list)
                return {"Successful": [{"Id": entry["Id"]} for entry in entries], "Failed": []}
            case "ReceiveMessage":
                if not self._callbacks:
                    await asyncio.sleep(_WAIT)
                found = [self._callbacks.popleft() for _ in range(min(10, len(self._callbacks)))]
                return {"Messages": [_message(task_id) for task_id in found]}
            case _:
                return {}


def _message(task_id: str) -> dict[str, object]:
    body = json.dumps(
        {"id": task_id, "result": True, "image_url": ["s3://stub/1.png"], "output_url": "s3://stub/1.out", "context": 1}
    )
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    return {"MessageId": task_id, "ReceiptHandle": task_id, "MD5OfBody": digest, "Body": body}


def _record() -> bytes:
    now = datetime.now(UTC)
    submission = Submission(
        submission="01J00000000000000000000000",
        runtime=RUNTIME,
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="loadtest",
        status=Status.SUCCEEDED,
        submitted_at=now,
        started_at=now,
        finished_at=now,
        attempts=1,
        holder="stub/1",
        timings=Timings(queued=0.0, inputs=0.0, generation=0.0, upload=0.0),
    )
    return Record(id="stub", current=submission).model_dump_json().encode()


async def main() -> None:
    """Serves on a free port of 127.0.0.1, which it prints, until it is ended or its standard input is."""
    server = await asyncio.start_server(Stub().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - whoever started it reads the port
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())

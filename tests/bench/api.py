"""Measures the API: requests per second and waiting times, with LocalStack, and with AWS stubbed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from contract.identifiers import new_ulid
from contract.task import RuntimeType
from tests.bench.http_load import Reply, load
from tests.bench.measure import Progress
from tests.bench.programs import BenchError, Program, running
from tests.bench.report import ApiRow
from tests.bench.stage import RUNTIMES, Stage, set_stage
from tests.bench.statistics import cpu_between, percentile
from tests.support.waiting import free_port

API_GOAL: Final = 1500.0
CONNECTIONS: Final = (1, 16, 128)
_WARM_UP: Final = 0.3
"""Of the measured time."""
_SOAK_CONNECTIONS: Final = 128
_READY_WITHIN: Final = 30.0


@dataclass
class _Waits:
    seconds: list[float] = field(default_factory=list)
    errors: int = 0

    def note(self, reply: Reply) -> None:
        if reply.status == 200:
            self.seconds.append(reply.seconds)
        else:
            self.errors += 1


async def measure_api(endpoint: str, *, folder: Path, seconds: float, soak: int, progress: Progress) -> list[ApiRow]:
    """Returns a row for each target and number of connections.

    Args:
        endpoint: LocalStack's URL.
        folder: of the logs.
        seconds: that each row is measured.
        soak: requests in a row over which the memory of the stubbed API is watched; 0 for none.
        progress: is told how far it is.

    Raises:
        BenchError: the API does not start, or dies.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    stage = await asyncio.to_thread(set_stage, endpoint)
    rows: list[ApiRow] = []
    total = 3 * len(CONNECTIONS)
    for target, module in (("API, AWS stubbed (20 ms)", "tests.bench.stubbed_api"), ("API, LocalStack", "api")):
        async with AsyncExitStack() as stack:
            program, port = await start_api(stack, stage, target, module, folder)
            for connections in CONNECTIONS:
                progress(target, len(rows), total)
                rows.append(await _row(target, program, port, connections, seconds))
            if soak and module != "api":
                rows.append(await _soak(program, port, soak, progress))
    for connections in CONNECTIONS:
        progress("LocalStack itself", len(rows), total)
        rows.append(await _localstack_row(stage, connections, seconds))
    progress("done", total, total)
    return rows


async def start_api(stack: AsyncExitStack, stage: Stage, target: str, module: str, folder: Path) -> tuple[Program, int]:
    """Starts an API, and returns it with its port once it listens.

    Raises:
        BenchError: it does not.
    """
    config = folder / "config.yaml"
    config.write_text(stage.config_text)
    port = free_port()
    environment = stage.environment() | {
        "CONFIG_FILE": str(config),
        "TASK_TOPIC_ARN": stage.place.task_topic_arn,
        "CALLBACK_TOPIC_ARN": stage.place.callback_topic_arn,
        "S3_BUCKET": stage.place.output_bucket,
        "PORT": str(port),
    }
    command = [sys.executable, "-m", module]
    program = await stack.enter_async_context(
        running(Program(module.rpartition(".")[2], command, folder=folder, environment=environment))
    )
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            program.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{target} does not listen; its last words: {program.last_words()}") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return program, port


def _request() -> bytes:
    """Returns a submission, with an id that no other one has."""
    task_id = new_ulid()
    body = orjson.dumps(
        {
            "task": {
                "metadata": {
                    "id": task_id,
                    "runtime": RUNTIMES[RuntimeType.SDWEBUI],
                    "tasktype": "text-to-image",
                    "prefix": "output",
                    "context": {"userId": task_id},
                },
                "content": {
                    "alwayson_scripts": {},
                    "prompt": "A dog on a bench in the rain, oil on canvas",
                    "negative_prompt": "blurry, bad hands",
                    "steps": 16,
                    "width": 512,
                    "height": 512,
                },
            }
        }
    )
    head = (
        b"POST /v1alpha2 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    return head + body


async def _row(target: str, program: Program, port: int, connections: int, seconds: float) -> ApiRow:
    await load(port, connections, _request, lambda _: None, seconds=seconds * _WARM_UP)
    waits = _Waits()
    began, at = time.monotonic(), time.time()
    await load(port, connections, _request, waits.note, seconds=seconds)
    elapsed = time.monotonic() - began
    await asyncio.sleep(0.1)
    program.check()
    cpu = cpu_between(program.samples, at, time.time())
    return ApiRow(target, connections, _figures(waits, elapsed, cpu=cpu, rss=program.samples[-1].rss))


async def _soak(program: Program, port: int, requests: int, progress: Progress) -> ApiRow:
    """Returns a row whose memory is what was added between the first tenth and the end."""
    waits = _Waits()
    left = requests
    early = 0

    def note(reply: Reply) -> None:
        nonlocal left, early
        waits.note(reply)
        left -= 1
        if left == requests * 9 // 10:
            early = program.samples[-1].rss
        if left % 1000 == 0:
            progress("soaking", requests - left, requests)

    began, at = time.monotonic(), time.time()
    await load(port, _SOAK_CONNECTIONS, _request, note, requests=requests)
    elapsed = time.monotonic() - began
    await asyncio.sleep(0.1)
    program.check()
    figures = _figures(waits, elapsed, cpu=cpu_between(program.samples, at, time.time()), rss=program.samples[-1].rss)
    growth = program.samples[-1].rss - early
    target = f"  after {requests:,} requests ({growth / 1e6:+.1f} MB since the first tenth)"
    return ApiRow(target, _SOAK_CONNECTIONS, {**figures, "growth": float(growth)})


async def _localstack_row(stage: Stage, connections: int, seconds: float) -> ApiRow:
    """Returns how fast LocalStack takes the two calls that the API makes for each task."""
    # Any: the stubs have one overload for each literal service name.
    session: Any = get_session()
    config = AioConfig(
        max_pool_connections=connections, s3={"addressing_style": "path"}, connect_timeout=5, read_timeout=30
    )
    settings = stage.environment()
    arguments = {
        "endpoint_url": stage.clients.endpoint,
        "region_name": stage.place.region,
        "aws_access_key_id": settings["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": settings["AWS_SECRET_ACCESS_KEY"],
        "config": config,
    }
    waits = _Waits()
    async with (
        session.create_client("s3", **arguments) as s3,
        session.create_client("sns", **arguments) as sns,
    ):
        text = _request().partition(b"\r\n\r\n")[2].decode()
        attributes = {"runtime": {"DataType": "String", "StringValue": RUNTIMES[RuntimeType.SDWEBUI]}}

        async def once() -> None:
            key = f".tasks/{new_ulid()}.json"
            await s3.put_object(Bucket=stage.place.output_bucket, Key=key, Body=text.encode(), IfNoneMatch="*")
            await sns.publish(TopicArn=stage.place.task_topic_arn, Message=text, MessageAttributes=attributes)

        await _repeat(once, connections, seconds * _WARM_UP, _Waits())
        began = time.monotonic()
        await _repeat(once, connections, seconds, waits)
    return ApiRow("LocalStack itself", connections, _figures(waits, time.monotonic() - began))


async def _repeat(once: Callable[[], Awaitable[None]], times: int, seconds: float, waits: _Waits) -> None:
    deadline = time.monotonic() + seconds

    async def work() -> None:
        while time.monotonic() < deadline:
            began = time.monotonic()
            await once()
            waits.seconds.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(times):
            group.create_task(work())


def _figures(
    waits: _Waits, elapsed: float, *, cpu: float | None = None, rss: int | None = None
) -> dict[str, float | None]:
    done = len(waits.seconds)
    return {
        "requests": float(done),
        "rate": done / elapsed,
        "p50": percentile(waits.seconds, 50),
        "p99": percentile(waits.seconds, 99),
        "cpu": cpu / done if cpu is not None and done else None,
        "per_core": done / cpu if cpu else None,
        "rss": rss,
        "errors": float(waits.errors),
    }

"""Measures how long a page of `GET /v1/tasks` takes with very many tasks on LocalStack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from contract.identifiers import TaskRef
from contract.objects import list_key, record_key
from contract.record import Failure, Record, Status, Submission
from contract.s3 import open_s3
from contract.task import RuntimeType, TaskType
from contract.task_log import FULL, SUBMITTED, UNSUCCESSFUL, Segment, ended_line, submitted_line
from tests.bench.api import start_api
from tests.bench.measure import Progress
from tests.bench.report import ListRow
from tests.bench.stage import RUNTIMES, Stage, set_stage
from tests.bench.statistics import percentile

TASKS: Final = 100_000
LIST_GOAL: Final = 0.3
"""Seconds for a page of 50."""

_AT_ONCE: Final = 64
_ROUNDS: Final = 7
_SECONDS_APART: Final = 6
"""Between two submissions: 100,000 of them are a week."""


async def measure_lists(endpoint: str, *, folder: Path, tasks: int, progress: Progress) -> list[ListRow]:
    """Returns a row for each kind of page.

    Args:
        endpoint: LocalStack's URL.
        folder: of the logs.
        tasks: that there are: one in a thousand has failed, the newest ten are under way, and all others succeeded.
        progress: is told how far it is.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    stage = await asyncio.to_thread(set_stage, endpoint)
    began = datetime.now(UTC) - timedelta(seconds=_SECONDS_APART * tasks)
    records = [_record(number, began + timedelta(seconds=_SECONDS_APART * number), tasks) for number in range(tasks)]
    await _fill(stage, records, progress)
    middle = records[tasks // 2].current.submitted_at.isoformat().replace("+00:00", "Z")
    queries = {
        "newest": "",
        "succeeded": "status=succeeded",
        "running, 10 of them": "status=running",
        "failed, 1 in 1,000": "status=failed",
        "of one runtime": f"runtime={RUNTIMES[RuntimeType.SDWEBUI]}",
        "from the middle": f"until={middle}",
        "by the whole id, the oldest": f"id_prefix={records[0].id}",
        "by the beginning of an id, the newest": f"id_prefix={records[-1].id[:8]}",
    }
    rows: list[ListRow] = []
    async with AsyncExitStack() as stack:
        program, port = await start_api(stack, stage, "API, LocalStack", "api", folder)
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30))
        for number, (what, query) in enumerate(queries.items()):
            progress(what, number, len(queries))
            rows.append(await _row(client, what, query))
            program.check()
    progress("done", len(queries), len(queries))
    return rows


async def _row(client: httpx.AsyncClient, what: str, query: str) -> ListRow:
    seconds: list[float] = []
    page: dict[str, Any] = {}
    cursor = ""
    for _ in range(_ROUNDS):  # page after page, so that none is remembered
        at = time.monotonic()
        answer = await client.get(f"/v1/tasks?{query}{cursor}")
        seconds.append(time.monotonic() - at)
        answer.raise_for_status()
        page = page or answer.json()
        cursor = f"&cursor={answer.json()['next']}" if answer.json()["next"] else ""
    return ListRow(what, len(page["tasks"]), seconds[0], percentile(seconds, 50) or 0.0, max(seconds))


def _record(number: int, at: datetime, tasks: int) -> Record:
    ended: dict[str, Any] = {"status": Status.SUCCEEDED, "finished_at": at + timedelta(seconds=9)}
    if number >= tasks - 10:
        ended = {"status": Status.RUNNING}
    elif number % 1000 == 500:
        ended |= {"status": Status.FAILED, "error": Failure(code="runtime_error", message="the runtime failed")}
    name = f"task-{number:08}"
    images = [f"s3://bucket/output/{name}/{name}-abcd-1.png"] if ended["status"] is Status.SUCCEEDED else []
    submission = Submission(
        submission=f"{number:026}",
        runtime=RUNTIMES[RuntimeType.SDWEBUI],
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        context={"user": number},
        submitted_at=at,
        started_at=at + timedelta(seconds=1),
        attempts=1,
        image_url=images,
        **ended,
    )
    return Record(id=name, current=submission)


async def _fill(stage: Stage, records: Sequence[Record], progress: Progress) -> None:
    submitted = [
        submitted_line(
            TaskRef(record.id),
            record.current.submission,
            runtime=record.current.runtime,
            tasktype=record.current.tasktype,
            at=record.current.submitted_at,
        )
        for record in records
    ]
    failed = [ended_line(record.ref, record.current) for record in records if record.current.error is not None]
    objects: dict[str, bytes] = {}
    for name, lines in ((SUBMITTED, submitted), (UNSUCCESSFUL, failed)):
        segments = [Segment(seq, lines[at : at + FULL]) for seq, at in enumerate(range(0, len(lines), FULL))]
        objects |= {list_key("", name, segment.seq): segment.encode() for segment in segments[:-1]}
        objects |= {list_key("", name): segment.encode() for segment in segments[-1:]}
    waiting = iter([*objects.items(), *((record_key(item.ref), item.model_dump_json().encode()) for item in records)])
    done, total = 0, len(objects) + len(records)
    async with open_bucket(stage) as s3:

        async def put() -> None:
            nonlocal done
            for key, document in waiting:
                await s3.put_object(
                    Bucket=stage.place.output_bucket, Key=key, Body=document, ContentType="application/json"
                )
                done += 1
                if done % 1000 == 0:
                    progress("writing tasks", done, total)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(put())


def open_bucket(stage: Stage) -> Any:
    """Opens a client for the output bucket."""
    session = get_session()
    settings = stage.environment()
    session.set_credentials(settings["AWS_ACCESS_KEY_ID"], settings["AWS_SECRET_ACCESS_KEY"])
    config = AioConfig(s3={"addressing_style": "path"})
    return open_s3(
        session,
        stage.place.output_bucket,
        region=stage.place.region,
        config=config,
        endpoint=stage.clients.endpoint,
        seconds=30,
    )

"""A job's server-sent events: `status`, `progress` and `output`, as `comfy_sdk.events` (0.5.0) reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from api.comfy_v2.jobs import progress_of, status_of
from api.comfy_v2.outputs import Outputs
from api.events import KEEP_ALIVE, encode_event, event_id, task_changes
from api.tasks import Tasks
from contract.record import Record


async def job_events(tasks: Tasks, outputs: Outputs, record: Record, stopping: asyncio.Event) -> AsyncIterator[bytes]:
    """Yields a job's events from how it stands until it has ended or the server stops; outputs come before the end.

    Args:
        tasks: reads the record again and again.
        outputs: of the job.
        record: as it was read to answer the request.
        stopping: set when the server is about to end.
    """
    # The first bytes tell the client that the stream is open.
    yield b": open\n\n"
    told = ""
    async for changed in task_changes(tasks, record, "", stopping):
        if changed is None:
            yield KEEP_ALIVE
            continue
        current, identifier = changed.current, event_id(changed.current)
        if current.status.terminal:
            for output in await outputs.of(changed):
                yield encode_event("output", output, identifier)
        status = status_of(current)
        if status != told:
            told = status
            yield encode_event("status", {"status": status, "queue_position": None}, identifier)
        if current.progress is not None and (progress := progress_of(current)) is not None:
            yield encode_event("progress", progress, identifier)

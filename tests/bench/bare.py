"""The least gap between two runs that any client can reach: the scenario's requests, encoded ahead, one by one."""

from __future__ import annotations

import asyncio
import base64
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from contract.task import TaskType
from tests.bench.inputs import input_image
from tests.bench.measure import Progress, read_runtime, start_runtime
from tests.bench.programs import BenchError
from tests.bench.scenarios import Scenario
from tests.bench.statistics import gaps, percentile

NAME: Final = "bare client"
_MOST: Final = 20
_HEADERS: Final = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_PATHS: Final = {TaskType.TEXT_TO_IMAGE: "/sdapi/v1/txt2img", TaskType.IMAGE_TO_IMAGE: "/sdapi/v1/img2img"}


def applies(scenario: Scenario) -> bool:
    """Tells whether the scenario is about gaps, on a runtime that answers a run's request with its result."""
    return scenario.seconds_per_task > 0 and scenario.task_type in _PATHS


async def measure_bare(scenario: Scenario, *, folder: Path, progress: Progress) -> dict[str, float | None]:
    """Returns `idle` and `gap`, as `tests.bench.measure.figures` does, of a client without a queue and without AWS.

    Each request goes out as soon as the head of the last answer is here, over connections that are kept.

    Raises:
        BenchError: the runtime refuses a request.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    image = base64.b64encode(input_image("bare")).decode() if scenario.has_inputs else ""
    count = min(_MOST, scenario.tasks)
    bodies = [orjson.dumps(scenario.content(f"bench-bare-{number:06d}", image)) for number in range(count)]
    async with AsyncExitStack() as stack:
        address = await (await start_runtime(stack, scenario, 0, folder)).address()
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=_HEADERS))
        async with asyncio.TaskGroup() as reading:
            for number, body in enumerate(bodies):
                progress("tasks", number, count)
                answer = await session.post(f"{address}{_PATHS[scenario.task_type]}", data=body)
                if answer.status != 200:
                    raise BenchError(f"the runtime answers {answer.status}: {(await answer.text())[:300]}")
                reading.create_task(answer.read())
        progress("tasks", count, count)
        gpu = await read_runtime(address)
    return {"idle": gpu.idle, "gap": percentile(gaps(list(gpu.runs.values())), 50)}

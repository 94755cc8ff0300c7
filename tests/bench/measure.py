"""Measures one agent in one scenario: starts everything, waits until the tasks are done, and computes the figures."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from contract.task import RuntimeType
from tests.bench.contenders import Contender
from tests.bench.exchanges import Handling, QueueDiary
from tests.bench.inputs import serve_inputs
from tests.bench.programs import BenchError, Program, running
from tests.bench.relay import Relay
from tests.bench.scenarios import INPUT_SECONDS, Scenario
from tests.bench.stage import RUNTIMES, Stage, fill, set_stage
from tests.bench.statistics import (
    Run,
    Sample,
    cpu_between,
    gaps,
    idle_fraction,
    peak_rss,
    percentile,
    rate_within,
    rss_within,
)

Progress = Callable[[str, int, int], None]
"""Is told what is done, how far, and of how much."""

_STALL: Final = 60.0
"""Seconds without any task done after which a measurement is given up."""
_POLL: Final = 0.05
_TASK_ID: Final = re.compile(r"bench-[a-z]+-\d{6}")
_BUSY: Final = re.compile(r"^fake_runtime_gpu_busy_seconds_total (\S+)", re.MULTILINE)
_OK: Final = "succeeded"


@dataclass(frozen=True)
class Gpu:
    """What one fake runtime tells at the end."""

    busy: float
    runs: dict[str, Run]
    failed: int

    @property
    def idle(self) -> float | None:
        """Its idle fraction."""
        return idle_fraction(list(self.runs.values()), self.busy)


async def measure(
    endpoint: str, scenario: Scenario, contender: Contender, *, agents: int, folder: Path, progress: Progress
) -> dict[str, float | None]:
    """Returns the figures of one agent in one scenario; see `figures`.

    Args:
        endpoint: LocalStack's URL.
        scenario: what is to be done.
        contender: who does it.
        agents: how many of them, each with a runtime of its own.
        folder: of the logs.
        progress: is told how far it is.

    Raises:
        BenchError: a process dies, or the tasks do not come to an end.
    """
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        inputs = await stack.enter_async_context(serve_inputs(INPUT_SECONDS)) if scenario.has_inputs else ""
        stage = await asyncio.to_thread(set_stage, endpoint)
        await asyncio.to_thread(
            fill,
            stage,
            scenario,
            records=contender.has_records,
            in_envelope=contender.in_envelope,
            inputs=inputs,
            progress=lambda done: progress("filling the queue", done, scenario.messages),
        )
        diary = QueueDiary()
        aws = await stack.enter_async_context(Relay(endpoint, delay=scenario.aws_delay)) if scenario.aws_delay else None
        sqs = await stack.enter_async_context(Relay(endpoint, delay=scenario.aws_delay, diary=diary))
        environment = stage.environment() | {"AWS_ENDPOINT_URL_SQS": sqs.url}
        if aws is not None:
            environment["AWS_ENDPOINT_URL"] = aws.url

        runtimes = [await start_runtime(stack, scenario, number, folder) for number in range(agents)]
        addresses = [await runtime.address() for runtime in runtimes]
        workers = [
            await stack.enter_async_context(
                running(
                    Program(
                        f"{contender.name}-{number}",
                        contender.command,
                        folder=folder,
                        environment=environment | _settings(stage, scenario, contender, address, inputs),
                    )
                )
            )
            for number, address in enumerate(addresses)
        ]
        await _wait(stage, scenario, [*workers, *runtimes], diary, progress)
        await asyncio.sleep(2 * _POLL)  # one more sample, so that the last task's cost is in it
        gpus = [await read_runtime(address) for address in addresses]
        return figures(diary.handlings(), gpus, [worker.samples for worker in workers], tasks=scenario.tasks)


def figures(
    handlings: list[Handling], gpus: list[Gpu], samples: list[list[Sample]], *, tasks: int
) -> dict[str, float | None]:
    """Returns what a measurement comes to; a figure that cannot be had is None.

    `rate` in tasks per second from the first run's start to the last deletion; `idle` a fraction, the mean over GPUs;
    `gap` the median of the seconds from a run's end to the next one's start, which a busy machine does not spoil as it
    does the mean; `cpu` in seconds per task; `rss` in bytes, the largest agent's; `p50`, `p95`,
    `p99` in seconds from receipt to deletion without the run; `slowdown` the fraction of the rate that is lost from the
    second fifth to the last; `growth` in bytes between the same.
    """
    runs = {name: run for gpu in gpus for name, run in gpu.runs.items()}
    if not runs:
        raise BenchError("no task was run")
    handlings = handlings[:tasks]
    begin = min(run.started for run in runs.values())
    ends = sorted(item.deleted for item in handlings) or sorted(run.ended for run in runs.values())[:tasks]
    end = ends[-1]
    waits = [
        item.deleted - item.received - (runs[item.task_id].ended - runs[item.task_id].started)
        for item in handlings
        if item.task_id in runs
    ]
    idles = [gpu.idle for gpu in gpus if gpu.idle is not None]
    idle = sum(idles) / len(idles) if idles else None
    seconds = end - begin
    early, late = (begin + 0.2 * seconds, begin + 0.4 * seconds), (begin + 0.8 * seconds, end)
    early_rate, late_rate = rate_within(ends, *early), rate_within(ends, *late)
    early_rss = [size for one in samples if (size := rss_within(one, *early)) is not None]
    late_rss = [size for one in samples if (size := rss_within(one, *late)) is not None]
    return {
        "tasks": float(len(ends)),
        "failed": float(sum(gpu.failed for gpu in gpus)),
        "seconds": seconds,
        "rate": len(ends) / seconds if seconds > 0 else None,
        "idle": idle,
        "gap": percentile([gap for gpu in gpus for gap in gaps(list(gpu.runs.values()))], 50),
        "cpu": sum(cpu_between(one, begin, end) for one in samples) / len(ends),
        "rss": max((size for one in samples if (size := peak_rss(one)) is not None), default=None),
        "p50": percentile(waits, 50),
        "p95": percentile(waits, 95),
        "p99": percentile(waits, 99),
        "slowdown": 1 - late_rate / early_rate if early_rate and late_rate is not None else None,
        "growth": float(max(late_rss) - max(early_rss)) if early_rss and late_rss else None,
    }


def read_runs(jobs: list[dict[str, Any]]) -> tuple[dict[str, Run], int]:
    """Returns the runs of our tasks as a runtime notes them, the last one of each task, and how many failed."""
    runs, failed = {}, 0
    for job in jobs:
        found = _TASK_ID.search(job["prompt"])
        if found is None or job["finished"] is None:
            continue
        failed += job["outcome"] != _OK
        runs[found[0]] = Run(job["started"], job["finished"])
    return runs, failed


def _settings(stage: Stage, scenario: Scenario, contender: Contender, runtime: str, inputs: str) -> dict[str, str]:
    return {
        # Our agent's other variables; whoever has no use for them does not look.
        "RUNTIME_NAME": RUNTIMES[scenario.runtime],
        "RUNTIME_TYPE": scenario.runtime,
        "DYNAMIC_SD_MODEL": "true" if scenario.runtime is RuntimeType.SDWEBUI else "false",
        "INPUT_ALLOWED_ORIGINS": inputs,
        **contender.environment(
            queue=stage.queue_url(scenario.runtime),
            runtime=runtime,
            topic=stage.place.callback_topic_arn,
            bucket=stage.place.output_bucket,
        ),
    }


async def start_runtime(stack: AsyncExitStack, scenario: Scenario, number: int, folder: Path) -> Program:
    """Starts a fake runtime that ends with the stack."""
    speed = ["--seconds-per-task", str(scenario.seconds_per_task)] if scenario.seconds_per_task else ["--latency", "0"]
    command = [
        *(sys.executable, "-m", "fake_runtime", "--type", scenario.runtime, "--log-level", "warning"),
        *("--vram-gib", str(scenario.video_memory), *speed),
    ]
    return await stack.enter_async_context(
        running(Program(f"runtime-{number}", command, folder=folder, environment={}))
    )


async def _wait(
    stage: Stage, scenario: Scenario, programs: list[Program], diary: QueueDiary, progress: Progress
) -> None:
    """Returns once the awaited tasks are done: deleted, as the diary says, or no longer in the queue."""
    url, extra = stage.queue_url(scenario.runtime), scenario.messages - scenario.tasks
    done, changed = 0, time.monotonic()
    asked = changed
    while done < scenario.tasks:
        await asyncio.sleep(_POLL)
        now = len(diary.deleted)
        if not now and time.monotonic() - asked > 2:
            # An agent whose words the diary does not understand.
            now, asked = scenario.tasks + extra - await asyncio.to_thread(stage.left, url), time.monotonic()
        if now != done:
            done, changed = now, time.monotonic()
            progress("tasks", min(done, scenario.tasks), scenario.tasks)
        for program in programs:
            program.check()
        if time.monotonic() - changed > _STALL:
            said = "; ".join(f"{program.name}: {program.last_words()}" for program in programs)
            raise BenchError(f"nothing was done for {_STALL:.0f} s at {done} of {scenario.tasks} tasks; {said}")


async def read_runtime(address: str) -> Gpu:
    """Returns what a fake runtime tells of its runs."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        async with session.get(f"{address}/metrics") as answer:
            text = await answer.text()
        async with session.get(f"{address}/fake/jobs") as answer:
            runs, failed = read_runs(await answer.json())
    found = _BUSY.search(text)
    if found is None:
        raise BenchError(f"{address}/metrics has no busy seconds")
    return Gpu(float(found[1]), runs, failed)

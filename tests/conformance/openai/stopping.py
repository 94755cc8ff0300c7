"""What becomes of runs whose callers hang up, and of the server when it ends."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tests.conformance.case import Mark, case, check
from tests.conformance.openai.client import IMAGES, OpenAi


async def _hang_up(run: asyncio.Task[object]) -> None:
    run.cancel()
    with suppress(asyncio.CancelledError):
        await run


@case("models and health are answered while a run goes on", Mark.NEEDS_MODEL)
async def answers_while_it_runs(server: OpenAi) -> None:
    run = server.begin()
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await server.get("/v1/models")
    check("within 5 s", True, time.monotonic() - began < 5)
    check("the run", IMAGES, (await run).shown())


@case(
    "a run whose caller has hung up ends at once where `owned_by` begins with vllm; elsewhere the next one waits",
    Mark.NEEDS_MODEL,
)
async def hanging_up(server: OpenAi) -> None:
    whole = time.monotonic()
    check("the run", IMAGES, (await server.begin()).shown())
    whole = time.monotonic() - whole
    run = server.begin()
    await asyncio.sleep(min(0.2, whole / 4))
    began = time.monotonic()
    await _hang_up(run)
    check("the next one", IMAGES, (await server.generate()).shown())
    waited = time.monotonic() - began
    stops = (await server.owner_of_the_model()).startswith("vllm")
    check(f"it waited for less than half of {whole:.1f} s", stops, waited < whole / 2)


@case("while it starts it refuses connections, or says that it is not ready", Mark.NEEDS_START, Mark.NEEDS_MODEL)
async def start(server: OpenAi) -> None:
    await server.start_afresh()
    check("POST generations", IMAGES, (await server.generate()).shown())

"""How SD Web UI takes one request after the other, and what it tells meanwhile."""

from __future__ import annotations

import asyncio
import base64

from tests.conformance.case import Mark, case, check
from tests.conformance.comfyui.client import png
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.server import eventually

_MODEL = Mark.NEEDS_MODEL
_LOOKS = 5


@case("requests run one at a time, in the order of their arrival; the callers wait", _MODEL)
async def one_at_a_time(server: SdWebUi) -> None:
    first = await server.begin()
    ended: list[int] = []

    async def run(number: int) -> None:
        await server.generate(seed=number)
        ended.append(number)

    async with asyncio.TaskGroup() as group:
        for number in (1, 2, 3):
            group.create_task(run(number))
            await asyncio.sleep(0.15)
        await asyncio.sleep(0)
        check("those that wait have not ended", [], ended if not first.done() else [])
        check("the first", 200, (await first).status)
    check("the order of the ends", [1, 2, 3], ended)


@case("progress, options, memory and interrupt answer while a request runs", _MODEL)
async def answers_while_it_runs(server: SdWebUi) -> None:
    running = await server.begin()
    for name in ("progress", "options", "memory"):
        await server.get(f"/sdapi/v1/{name}")
    check("it still runs", False, running.done())
    check("POST interrupt", 200, (await server.call("interrupt", {})).status)
    check("POST txt2img", 200, (await running).status)


@case("progress lies between 0 and 1 while a request runs, and names no request", _MODEL)
async def progress_while_it_runs(server: SdWebUi) -> None:
    running = await server.begin()
    body = await server.progress()
    check("GET progress", {"progress": float, "eta_relative": float, "state": {"sampling_steps": int}}, body)
    check("it lies between 0 and 1", True, 0 < body["progress"] <= 1)
    await server.call("interrupt", {})
    await running


@case("an idle server tells the steps of the last job; a job's own steps and batches come when it samples", _MODEL)
async def progress_of_a_beginning(server: SdWebUi) -> None:
    await server.generate(steps=3)
    check("GET progress of an idle server", {"sampling_steps": 3, "job_count": 0}, (await server.progress())["state"])
    running = await server.begin(n_iter=2)

    async def samples() -> bool:
        state = (await server.progress())["state"]
        told = (state["sampling_steps"], state["job_count"], state["job"])
        return told == (server.notes["steps"], 2, "Batch 1 out of 2")

    await eventually("the steps and batches are told", samples)
    await server.call("interrupt", {})
    await running


@case("progress refuses a wrong parameter of its query with 422")
async def wrong_query(server: SdWebUi) -> None:
    shape = {"detail": [{"loc": ["query", "skip_current_image"], "msg": str, "type": "type_error.bool"}]}
    await server.refuses("GET", "/sdapi/v1/progress?skip_current_image=x", 422, shape)


@case("force_task_id is echoed, and nothing else: two requests may have the same", _MODEL)
async def forced_task_id(server: SdWebUi) -> None:
    answers = await asyncio.gather(*(server.generate(force_task_id="mine") for _ in range(2)))
    check("the echoes", ["mine", "mine"], [answer["parameters"]["force_task_id"] for answer in answers])
    check("GET progress", {"state": {"job": ""}}, await server.progress())


@case(
    "a request that waits begins before the one in front of it is answered: images are encoded after the turn", _MODEL
)
async def encoding_beside_the_next(server: SdWebUi) -> None:
    picture = base64.b64encode(png(size=400, noise=True)).decode()
    large = {"image": picture, "upscaler_1": "Lanczos", "upscaling_resize": 8}

    async def overlap() -> bool:
        first = asyncio.create_task(server.call("extra-single-image", large))

        async def job(name: str) -> bool:
            return first.done() or str((await server.progress())["state"]["job"]).startswith(name)

        await eventually("the first begins", lambda: job("Upscale"))
        second = asyncio.create_task(server.call("txt2img", {**SMALL, "steps": 60}))
        await eventually("the second begins", lambda: job("scripts_txt2img"))
        seen = not first.done()
        await server.call("interrupt", {})
        check("the statuses", [200, 200], [(await second).status, (await first).status])
        return seen

    # On a busy machine the answer may be here before the look that would have found the second one running.
    for _ in range(_LOOKS):
        if await overlap():
            return
    check("the second one was seen to run before the first one was answered", True, False)

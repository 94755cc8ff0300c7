"""How requests to SD Web UI are stopped."""

from __future__ import annotations

import asyncio

from tests.conformance.case import Mark, case, check
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.shapes import Each


@case("interrupt answers an empty object, skip null, whether or not anything runs")
async def stopping_answers(server: SdWebUi) -> None:
    check("POST interrupt", {"status": 200, "body": {}}, (await server.call("interrupt", {})).shown())
    check("POST skip", {"status": 200, "body": None}, (await server.call("skip", {})).shown())


@case("an interrupted request ends with 200 and what was made so far", Mark.NEEDS_MODEL)
async def interrupt_of_a_request(server: SdWebUi) -> None:
    running = await server.begin(n_iter=4)
    await server.call("interrupt", {})
    reply = await running
    check("POST txt2img", {"status": 200, "body": {"images": Each(str)}}, reply.shown())
    check("fewer than asked for", True, len(reply.body["images"]) < 4)


@case("an interrupt does nothing to a request that waits", Mark.NEEDS_MODEL)
async def interrupt_spares_what_waits(server: SdWebUi) -> None:
    for _ in range(3):
        running = await server.begin(n_iter=8)
        waiting = asyncio.create_task(server.call("txt2img", {**SMALL, "n_iter": 2}))
        await asyncio.sleep(0.2)
        await server.call("interrupt", {})
        hit = len((await running).body["images"]) < 8
        reply = await waiting
        if hit:
            break
        # It came late, and met the one that waited while that one ran.
    check("the one that waited", {"status": 200, "body": {"images": Each(str, least=2)}}, reply.shown())


@case("an interrupt while nothing runs does not touch the next request", Mark.NEEDS_MODEL)
async def idle_interrupt(server: SdWebUi) -> None:
    await server.call("interrupt", {})
    check("how many images", 2, len((await server.generate(n_iter=2, batch_size=1))["images"][-2:]))


@case("a request whose caller hangs up goes on", Mark.NEEDS_MODEL)
async def hang_up(server: SdWebUi) -> None:
    running = await server.begin(n_iter=4)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0.2)
    check("progress", True, (await server.progress())["progress"] > 0)
    await server.call("interrupt", {})

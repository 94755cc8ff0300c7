"""How requests to SD Web UI are stopped."""

from __future__ import annotations

import asyncio
import base64

from tests.conformance.case import Mark, case, check
from tests.conformance.comfyui.client import png
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.server import Reply, eventually
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


@case("an interrupt does nothing to a request that waits: it runs to its end", Mark.NEEDS_MODEL)
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


@case("an interrupted batch of upscales ends with 200 and what was made so far")
async def interrupt_of_upscales(server: SdWebUi) -> None:
    count = 24
    items = [{"data": base64.b64encode(png(size=400)).decode(), "name": f"{number}.png"} for number in range(count)]
    request = {"imageList": items, "upscaler_1": "Lanczos", "upscaling_resize": 3}
    for _ in range(3):
        running = asyncio.create_task(server.call("extra-batch-images", request))

        async def begun(running: asyncio.Task[Reply] = running) -> bool:
            return running.done() or (await server.progress())["state"]["job"] != ""

        await eventually("the batch begins", begun)
        await server.call("interrupt", {})
        reply = await running
        check(
            "POST extra-batch-images", {"status": 200, "body": {"html_info": str, "images": Each(str)}}, reply.shown()
        )
        if len(reply.body["images"]) < count:
            return
        # It came late, when all were made and only encoded.
    check("how many images", f"fewer than {count}", len(reply.body["images"]))


@case("a request whose caller hangs up while it waits runs all the same", Mark.NEEDS_MODEL)
async def hang_up_while_waiting(server: SdWebUi) -> None:
    running = await server.begin(n_iter=2)
    await server.ask_and_leave("txt2img", {**SMALL, "steps": server.notes["steps"], "n_iter": 3})
    await server.call("interrupt", {})
    check("POST txt2img", 200, (await running).status)

    async def runs() -> bool:
        return str((await server.progress())["state"]["job"]).endswith("out of 3")

    await eventually("the request that nobody waits for runs", runs, within=60)
    await server.call("interrupt", {})


@case("a request whose caller hangs up goes on", Mark.NEEDS_MODEL)
async def hang_up(server: SdWebUi) -> None:
    running = await server.begin(n_iter=4)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.sleep(0.2)
    check("progress", True, (await server.progress())["progress"] > 0)
    await server.call("interrupt", {})

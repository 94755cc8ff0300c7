"""What becomes of requests when SD Web UI's process starts and ends."""

from __future__ import annotations

import asyncio

from tests.conformance.case import Mark, case, check
from tests.conformance.sdwebui.client import SMALL, SdWebUi
from tests.conformance.server import eventually


async def _refuses(server: SdWebUi) -> bool:
    return not await server.listens()


@case("while it starts it refuses connections; what answers first can take work", Mark.NEEDS_START)
async def start(server: SdWebUi) -> None:
    await server.start_afresh()
    check("images", 1, len((await server.generate())["images"]))


@case(
    "after SIGTERM it answers what runs and what waits, takes nothing new, and ends", Mark.NEEDS_START, Mark.NEEDS_MODEL
)
async def terminated_while_running(server: SdWebUi) -> None:
    owner = server.owned()
    running = await server.begin()
    waiting = asyncio.create_task(server.call("txt2img", SMALL))
    # A request is taken once a later one is answered: it was read before.
    await server.progress()
    ending = asyncio.create_task(owner.terminate())
    await eventually("it takes nothing new", lambda: _refuses(server))
    check("the statuses", [200, 200], [(await running).status, (await waiting).status])
    await ending
    await server.start()

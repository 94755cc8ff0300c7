"""What becomes of the queue and of the images when InvokeAI's process starts and ends."""

from __future__ import annotations

import aiohttp

from tests.conformance.case import DeviationError, Mark, case, check
from tests.conformance.invokeai.client import IMAGES, InvokeAi, images_of
from tests.conformance.server import eventually
from tests.support.graphs import plain


async def _listens(server: InvokeAi) -> bool:
    try:
        return (await server.send("GET", "/api/v1/app/version")).status == 200
    except aiohttp.ClientError:
        return False


async def _restart(server: InvokeAi) -> None:
    await server.owned().start()
    await eventually("the server listens", lambda: _listens(server), within=600)


@case(
    "after a restart what ran is cancelled, what waited runs, and items and images are there as before",
    Mark.NEEDS_START,
)
async def restart(server: InvokeAi) -> None:
    owner = server.owned()
    done = await server.completed(plain())
    running, waiting = await server.submit(server.busy()), await server.submit(plain())
    await server.running(running)
    await owner.terminate()
    check("it listens", False, await _listens(server))
    await _restart(server)
    check("what ran", "canceled", (await server.item(running))["status"])
    check("what waited", "completed", (await server.ended(waiting))["status"])
    kept = {"status": "completed", "session": {"results": done["session"]["results"]}}
    check("what was done", kept, await server.item(done["item_id"]))
    check("its image", 200, (await server.send("GET", f"{IMAGES}/i/{images_of(done)['blank']}/full")).status)
    newest = await server.submit(plain())
    check("ids go on", True, newest > waiting)
    await server.ended(newest)


@case("while it starts it refuses connections; what answers first can take work", Mark.NEEDS_START)
async def start(server: InvokeAi) -> None:
    owner = server.owned()
    await owner.terminate()
    await owner.start()
    if await _listens(server):
        raise DeviationError("it listens at once", "connections are refused while it loads", "200")
    await eventually("the server listens", lambda: _listens(server), within=600)
    await server.completed(plain())

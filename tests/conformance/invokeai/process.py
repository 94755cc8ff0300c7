"""What becomes of the queue and of the images when InvokeAI's process starts and ends."""

from __future__ import annotations

from tests.conformance.case import Mark, case, check
from tests.conformance.invokeai.client import IMAGES, InvokeAi, images_of
from tests.support.graphs import plain


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
    check("it listens", False, await server.listens())
    await server.start()
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
    await server.start_afresh()
    await server.completed(plain())

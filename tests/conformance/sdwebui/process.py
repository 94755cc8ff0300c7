"""What becomes of requests when SD Web UI's process starts and ends."""

from __future__ import annotations

import aiohttp

from tests.conformance.case import DeviationError, Mark, case, check
from tests.conformance.sdwebui.client import SdWebUi
from tests.conformance.server import eventually


async def _listens(server: SdWebUi) -> bool:
    try:
        return (await server.send("GET", "/sdapi/v1/options")).status == 200
    except aiohttp.ClientError:
        return False


@case("while it starts it refuses connections; what answers first can take work", Mark.NEEDS_START)
async def start(server: SdWebUi) -> None:
    owner = server.owned()
    await owner.terminate()
    await owner.start()
    if await _listens(server):
        raise DeviationError("it listens at once", "connections are refused while it loads", "200")
    await eventually("the server listens", lambda: _listens(server), within=600)
    check("images", 1, len((await server.generate())["images"]))


@case("SIGTERM in the middle of a request breaks its connection", Mark.NEEDS_START, Mark.NEEDS_MODEL)
async def terminated_while_running(server: SdWebUi) -> None:
    owner = server.owned()
    running = await server.begin()
    await owner.terminate()
    try:
        reply = await running
    except aiohttp.ClientError:
        reply = None
    check("its answer", None, reply and reply.shown())
    await owner.start()
    await eventually("the server listens", lambda: _listens(server), within=600)

"""What becomes of runs when the process of a runtime of one's own starts and ends."""

from __future__ import annotations

from contextlib import suppress

import aiohttp

from tests.conformance.case import Mark, case, check
from tests.conformance.http_runtime.client import HttpRuntime, new_id
from tests.conformance.shapes import OneOf


@case("until it can take a task, connections are refused or /health is not 200", Mark.NEEDS_START)
async def start(server: HttpRuntime) -> None:
    owner = server.owned()
    await owner.terminate()
    await server.start()
    check("POST /runs/{id}", 200, (await server.run(new_id())).status)


@case(
    "SIGTERM in a run ends the process: the run is answered or its connection breaks, and is unknown afterwards",
    Mark.NEEDS_START,
)
async def terminated_while_running(server: HttpRuntime) -> None:
    owner, name = server.owned(), new_id()
    run = server.begin(name)
    await server.moving(name)
    await owner.terminate()
    with suppress(aiohttp.ClientError):
        check("POST /runs/{id}", {"status": OneOf(200, 409, 500, 503)}, (await run).shown())
    check("it listens", False, await server.listens())
    await server.start()
    check("GET /runs/{id}", 404, (await server.progress(name)).status)

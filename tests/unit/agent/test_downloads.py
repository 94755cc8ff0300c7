"""A run's files are fetched a few at a time, in order, and all of them or none."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from agent.errors import TransientError
from agent.runtimes.downloads import PARALLEL, RemoteFile, download
from agent.runtimes.http import Server, open_session
from tests.unit.agent.runtime_support import web_server

FILES = [RemoteFile(f"{number}.png", "/view", {"file": str(number)}) for number in range(3 * PARALLEL)]


async def test_so_many_at_once_and_no_more_and_in_order() -> None:
    under_way = most = 0
    full = asyncio.Event()

    async def view(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == PARALLEL:
            full.set()
        await full.wait()
        under_way -= 1
        return web.Response(body=request.query["file"].encode())

    async with web_server(view) as url, open_session() as session, asyncio.timeout(30):
        outputs = await download(Server(session, url, title="it", ready_path="/"), FILES)
    assert outputs is not None
    assert [(output.name, output.data.decode()) for output in outputs] == [
        (file.name, str(number)) for number, file in enumerate(FILES)
    ]
    assert most == PARALLEL


@pytest.mark.parametrize(("status", "body"), [(404, b"gone"), (500, b"no"), (200, b"")])
async def test_one_that_is_gone_spoils_all_and_one_that_is_not_handed_out_is_an_error(status: int, body: bytes) -> None:
    async def view(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body) if request.query["file"] == "5" else web.Response(body=b"image")

    async with web_server(view) as url, open_session() as session:
        server = Server(session, url, title="it", ready_path="/")
        if status == 404:
            assert await download(server, FILES) is None
        else:
            with pytest.raises(TransientError, match="it does not hand out its output"):
                await download(server, FILES)

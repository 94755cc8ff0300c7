"""A run's files are fetched a few at a time, in order."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from agent.errors import PermanentError, TaskError, TransientError
from agent.runtimes import downloads
from agent.runtimes.downloads import PARALLEL, Downloads, RemoteFile, download
from agent.runtimes.http import Server, open_session
from tests.unit.agent.runtime_support import web_server

FILES = [RemoteFile(f"{number}.png", "/view", {"file": str(number)}) for number in range(3 * PARALLEL)]


async def fetched(server: Server) -> Downloads:
    async with server.allowances.one() as allowance:
        return await download(server, FILES, allowance)


async def test_files_that_are_too_large_all_together_are_an_error_that_names_the_setting() -> None:
    async def view(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * 100)

    async with web_server(view) as url, open_session() as session:
        server = Server(session, url, title="it", ready_path="/", most_bytes=100 * len(FILES) - 1)
        with pytest.raises(PermanentError, match=r"more than 1199 bytes, .*OUTPUT_MAX_BYTES"):
            await fetched(server)


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
        found = await fetched(Server(session, url, title="it", ready_path="/"))
    assert [(output.name, output.data.decode()) for output in found.outputs] == [
        (file.name, str(number)) for number, file in enumerate(FILES)
    ]
    assert most == PARALLEL


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (500, 3)])
async def test_one_that_is_refused_does_not_spoil_the_others_and_is_asked_for_again_if_that_may_help(
    status: int, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PAUSES", (0.0, 0.0))
    seen = 0

    async def view(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal seen
        if request.query["file"] != "5":
            return web.Response(body=b"image")
        seen += 1
        return web.Response(status=status)

    async with web_server(view) as url, open_session() as session:
        found = await fetched(Server(session, url, title="it", ready_path="/"))
    assert (len(found.outputs), found.refused, seen) == (len(FILES) - 1, {"5.png": status}, asked)
    assert found.warnings == (f"the output '5.png' could not be fetched: the server answers {status}",)


def test_of_many_files_that_are_refused_a_few_are_named() -> None:
    refused = dict.fromkeys(map(str, range(500)), 404)
    warnings = downloads.Downloads([], refused).warnings
    assert len(warnings) == 21
    assert warnings[-1] == "480 more outputs could not be fetched"


@pytest.mark.parametrize(("status", "kind"), [(404, PermanentError), (403, PermanentError), (500, TransientError)])
def test_a_run_is_repeated_only_if_its_files_may_come_then(status: int, kind: type[TaskError]) -> None:
    found = downloads.Downloads([], {"a.png": status, "b.png": status})
    error = downloads.nothing_fetched(found, "it")
    assert type(error) is kind
    assert error.message == f"it does not hand out its output 'a.png' and 1 more ({status})"
    assert downloads.nothing_fetched(downloads.Downloads([], {}), "it") is None


async def test_a_token_goes_with_every_request_and_so_does_the_query_of_the_address() -> None:
    seen: list[tuple[str, str | None]] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        seen.append((request.raw_path, request.headers.get("Authorization")))
        return web.Response(body=b"{}")

    async with web_server(answer) as url, open_session("t0ken") as session:
        server = Server(session, f"{url}/comfy?token=a%2Bb", title="it", ready_path="/ready")
        await server.wait_until_ready()
        await server.request("GET", "/view", params={"filename": "a b"})
        await server.request("GET", "/history?max_items=1")
    assert seen == [
        ("/comfy/ready?token=a%2Bb", "Bearer t0ken"),
        ("/comfy/view?token=a%2Bb&filename=a+b", "Bearer t0ken"),
        ("/comfy/history?max_items=1&token=a%2Bb", "Bearer t0ken"),
    ]

"""No request takes the API's memory or its time: heads, bodies and their pace are bounded, and refused in one shape."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from contract.record import Status
from tests.integration.api.conftest import Api, StartApi
from tests.support.waiting import until

HOST = b"Host: 127.0.0.1\r\n"
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
POST = b"POST /v1alpha2 HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def connection(api: Api) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    address = api.client.base_url
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.close()


async def send(api: Api, *pieces: bytes, pause: float = 0) -> bytes:
    """Sends pieces as long as somebody listens, and returns all that is answered until the server hangs up."""
    async with connection(api) as (reader, writer):
        reading = asyncio.create_task(_all_of(reader))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass
        return await reading


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """Returns what comes until the end; a server that hangs up on a client that goes on sending resets it."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while block := await reader.read(65536):
            answer += block
    return answer


def refused(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head[:200]
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert (error["code"], set(error)) == (code, {"code", "message", "details"})


@pytest.mark.parametrize(
    ("pieces", "status", "code"),
    [
        ([GET + b"X-Long: ", *[b"a" * 65536] * 64, b"\r\n\r\n"], 431, "headers_too_large"),
        ([GET, *[b"X-Short: a\r\n" * 1000] * 50, b"\r\n"], 431, "headers_too_large"),
        ([GET, *[b"X-A: %s\r\n" % (b"a" * 9000)] * 8, b"\r\n"], 431, "headers_too_large"),
        ([CHUNKED + b"0\r\n", *[b"X-Trailer: a\r\n" * 1000] * 50, b"\r\n"], 400, "invalid_http"),
        ([b"GET /", *[b"a" * 4096] * 64, b" HTTP/1.1\r\n" + HOST + b"\r\n"], 414, "address_too_long"),
        ([b"GET /healthz HTTP/1.1\r\n\r\n"], 400, "invalid_http"),
        ([GET + HOST + b"\r\n"], 400, "invalid_http"),
        ([b"GET /healthz HTTP/1.1\r\nHost: a/b@c\r\n\r\n"], 400, "invalid_http"),
        ([CHUNKED + b"1;", *[b"a" * 65536] * 16, b"\r\na\r\n0\r\n\r\n"], 400, "invalid_http"),
        ([CHUNKED, *[b"1\r\n \r\n" * 10_000] * 10, b"0\r\n\r\n"], 400, "invalid_http"),
    ],
    ids=["one", "many", "together", "trailers", "address", "no-host", "two-hosts", "bad-host", "extension", "chunks"],
)
async def test_a_head_that_is_too_long_or_ambiguous_is_refused(
    api: Api, pieces: list[bytes], status: int, code: str
) -> None:
    refused(await send(api, *pieces), status, code)


async def test_what_is_within_the_limits_is_served_however_it_comes(api: Api) -> None:
    close = b"Connection: close\r\n\r\n"
    header = b"X-Long: %s\r\n" % (b"a" * 60_000)
    whole = GET + header + b"X-A: a\r\n" * 90 + close
    in_pieces = [whole[at : at + 3000] for at in range(0, len(whole), 3000)]
    for pieces in ([whole], in_pieces, [GET * 1 + b"\r\n"] * 1000 + [GET + close], [b"\r\n\r\n" + GET + close]):
        answer = await send(api, *pieces)
        assert answer.count(b"HTTP/1.1 200 OK") == len([piece for piece in pieces if b"GET" in piece])
    assert (await send(api, (GET + b"X-B: %s\r\n\r\n" % (b"b" * 500)) * 1000 + GET + close)).count(b"200 OK") == 1001
    assert (await send(api, b"GET /healthz HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")
    chunks = b"".join(b"10\r\n%s\r\n" % (b" " * 16) for _ in range(5000)) + b"0\r\nX-Trailer: a\r\n\r\n"
    assert b" 400 " in await send(api, CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + chunks)


async def test_a_head_that_does_not_come_is_408(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.protocol.HEAD_SECONDS", 0.5)
    refused(await send(api, b"GET /healthz HT"), 408, "request_too_slow")
    refused(await send(api, GET, *[b"X-A: a\r\n"] * 60, pause=0.1), 408, "request_too_slow")


async def test_a_body_that_stops_is_408(start_api: StartApi) -> None:
    api = await start_api(request_seconds=0.4)
    refused(await send(api, POST + b'Content-Length: 100\r\n\r\n{"task": '), 408, "body_too_slow")
    refused(await send(api, CHUNKED, *[b"1\r\n \r\n"] * 60, pause=0.1), 408, "body_too_slow")


async def test_a_body_that_comes_slowly_but_steadily_is_read_to_its_end(start_api: StartApi) -> None:
    api = await start_api(request_seconds=0.4)
    piece = b" " * 40_000
    head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % (10 * len(piece))

    answer = await send(api, head + piece, *[piece] * 9, pause=0.2)

    assert b'"invalid_json"' in answer


async def test_a_body_that_nobody_wants_has_its_time_too(start_api: StartApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api = await start_api(request_seconds=0.5, api_keys="a=secret")

    answer = await send(api, POST + b"Content-Length: 100\r\n\r\n", *[b" "] * 60, pause=0.1)

    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_event_streams_and_idle_connections_outlast_the_time_of_a_request(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.protocol.HEAD_SECONDS", 0.2)
    api = await start_api(request_seconds=0.2)
    task = {
        "metadata": {"id": "slow", "runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "p"},
        "content": {},
    }
    assert (await api.client.post("/v1alpha2", json={"task": task})).status_code == 200
    async with connection(api) as (reader, writer):
        writer.write(b"GET /v1/tasks/slow/events HTTP/1.1\r\n" + HOST + b"\r\n")
        await asyncio.sleep(2.5)
        assert (await api.client.delete("/v1/tasks/slow")).json()["status"] == Status.CANCELLED
        assert b"event: cancelled" in await reader.readuntil(b"event: cancelled")


BOMBS: dict[str, Any] = {
    "lists": b"[],",
    "objects": b'{"a":1},',
    "texts": b'"",',
    "numbers": b"1,",
    "depth": b"[",
}


@pytest.mark.parametrize("piece", BOMBS.values(), ids=BOMBS.keys())
async def test_a_body_of_too_many_values_is_400_and_names_the_limit(api: Api, piece: bytes) -> None:
    filler = piece * (2 * 1024 * 1024 // len(piece))
    answer = await api.client.post(
        "/v1/tasks",
        content=b'{"task":{"metadata":{"context":[' + filler + b'1]},"content":{}}}',
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_json"
    assert "200,000 values" in error["message"]


async def test_large_bodies_take_turns_and_none_is_lost(start_api: StartApi) -> None:
    limit = 3 * 1024 * 1024
    api = await start_api(max_body_bytes=limit)
    content = {"prompt": "x" * (limit - 1000)}

    async def submit(number: int) -> httpx.Response:
        metadata = {"id": f"large-{number}", "runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "p"}
        return await api.client.post("/v1alpha2", json={"task": {"metadata": metadata, "content": content}})

    answers = await asyncio.gather(*map(submit, range(12)))

    assert {answer.status_code for answer in answers} == {200}
    await until(lambda: api.front.intake.is_empty)


async def test_a_context_with_a_whole_number_of_any_size_is_shown_unchanged(api: Api) -> None:
    context = '{"a":12345678901234567890123,"b":[-9223372036854775809,18446744073709551616,1.0,1]}'
    body = (
        '{"task":{"metadata":{"id":"big","runtime":"sdruntime","tasktype":"text-to-image","prefix":"p",'
        f'"context":{context}}},"content":{{"seed":12345678901234567890123}}}}}}'
    )
    answer = await api.client.post("/v1/tasks", content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 202
    assert f'"context":{context}' in (await api.client.get("/v1/tasks/big")).text
    message = api.message("sdruntime", "big")
    assert message["metadata"]["context"] == json.loads(context)
    assert message["content"] == {"seed": 12345678901234567890123}

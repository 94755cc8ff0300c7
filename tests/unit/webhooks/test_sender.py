"""An attempt reaches the address that was judged, and no other one; whatever goes wrong has its words."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from webhooks.policy import Verdict
from webhooks.sender import Sender


def answers(*addresses: str | Exception) -> Callable[[str, int], Awaitable[Sequence[str]]]:
    """DNS that gives another answer each time, the last one for good."""
    left = list(addresses)

    async def resolve(host: str, port: int) -> list[str]:
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return [found]

    return resolve


async def serve(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> TestServer:
    app = web.Application()
    app.router.add_post("/{tail:.*}", handler)
    server = TestServer(app)
    await server.start_server()
    return server


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.0.1", "the address leads to a loopback address"),
        ("10.1.2.3", "the address leads to a private or reserved address"),
        ("169.254.169.254", "the address leads to a metadata address"),
        ("::ffff:127.0.0.1", "the address leads to a loopback address"),
    ],
)
async def test_a_public_name_that_leads_to_a_private_address_is_refused_for_good(address: str, words: str) -> None:
    outcome = await Sender(5, resolve=answers(address)).send("https://example.com/", b"{}", {})
    assert (outcome.verdict, outcome.error) == (Verdict.HOPELESS, words)


async def test_a_name_that_changes_its_address_after_it_was_judged_is_reached_where_it_was_judged() -> None:
    reached: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        reached.append(request.path_qs)
        return web.Response(status=200)

    server = await serve(hear)
    try:
        origin = f"http://rebinding.example:{server.port}"
        sender = Sender(5, frozenset({origin}), resolve=answers("127.0.0.1", "10.0.0.1"))
        outcome = await sender.send(f"{origin}/a%2Fb?q=%20", b"{}", {"webhook-id": "msg_1"})
    finally:
        await server.close()
    assert outcome.verdict is Verdict.DELIVERED
    assert reached == ["/a%2Fb?q=%20"], "path and query go out byte for byte"


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (204, Verdict.DELIVERED, ""),
        (302, Verdict.FAILED, "the receiver answered 302"),
        (404, Verdict.FAILED, "the receiver answered 404"),
        (410, Verdict.HOPELESS, "the receiver answered 410"),
        (503, Verdict.FAILED, "the receiver answered 503"),
    ],
)
async def test_an_answer_is_what_its_status_says(status: int, verdict: Verdict, words: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "http://127.0.0.1:1/", "Retry-After": "7"})

    server = await serve(answer)
    try:
        outcome = await Sender(5, frozenset({"loopback"})).send(f"http://127.0.0.1:{server.port}/", b"{}", {})
    finally:
        await server.close()
    assert (outcome.status, outcome.verdict, outcome.error) == (status, verdict, words)
    assert outcome.retry_after == (7 if status == 503 else 0)


async def test_a_receiver_that_does_not_answer_has_its_time_and_no_more() -> None:
    async def wait(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    server = await serve(wait)
    try:
        outcome = await Sender(0.3, frozenset({"loopback"})).send(f"http://127.0.0.1:{server.port}/", b"{}", {})
    finally:
        await server.close()
    assert (outcome.verdict, outcome.error) == (Verdict.FAILED, "no answer within 0.3 s")


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (socket.gaierror(socket.EAI_NONAME, "x"), "DNS does not know the host"),
        (socket.gaierror(socket.EAI_AGAIN, "x"), "DNS does not answer"),
    ],
)
async def test_what_dns_says_is_told(raised: Any, words: str) -> None:
    outcome = await Sender(5, resolve=answers(raised)).send("https://example.com/", b"{}", {})
    assert (outcome.verdict, outcome.error) == (Verdict.FAILED, words)


async def test_a_port_that_nobody_listens_on_is_told(unused_tcp_port: int) -> None:
    outcome = await Sender(5, frozenset({"loopback"})).send(f"http://127.0.0.1:{unused_tcp_port}/", b"{}", {})
    assert (outcome.verdict, outcome.error) == (Verdict.FAILED, "the receiver accepts no connection")

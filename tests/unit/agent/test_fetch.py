"""Fetching over HTTP: redirects, limits, kinds of content, and DNS that changes its mind."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from agent.errors import PermanentError, TransientError
from agent.inputs import Inputs
from agent.inputs.fetch import Budget, Fetcher, Limits, shown
from contract.outbound import parse_origins
from tests.unit.agent.runtime_support import fetch, fetcher_for, names, no_dns, png, web_server
from tests.unit.agent.test_hostile_links import ClosedS3

SHORT = Limits(seconds_per_link=0.4, idle_seconds=0.2, connect_seconds=1)


class Site:
    """A web server whose paths misbehave each in its way."""

    def __init__(self) -> None:
        self.origin = ""
        self.seen: list[web.BaseRequest] = []

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request)
        name = request.path.strip("/").replace("-", "_")
        answer: web.StreamResponse = await getattr(self, name)(request)
        return answer

    async def good(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=png(), content_type="application/octet-stream")

    async def to(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=int(request.query.get("status", 302)), headers={"Location": request.query["url"]})

    async def loop(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/loop"})

    async def status(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=int(request.query["is"]), body=png())

    async def html(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="<!DOCTYPE html><title>login</title>" + " " * 100, content_type="image/png")

    async def empty(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(content_type="image/png")

    async def zipped(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=png(), headers={"Content-Encoding": "gzip"})

    async def large(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=png(pad=300_000))

    async def endless(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(png())
        while True:
            await response.write(bytes(65536))

    async def slow(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for byte in png(pad=1000):
            await response.write(bytes([byte]))
            await asyncio.sleep(0.02)
        return response

    async def stalled(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(png()[:20])
        await asyncio.sleep(60)
        return response

    async def silent(self, _: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    async def cut(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5000"})
        await response.prepare(request)
        await response.write(png())
        assert request.transport is not None
        request.transport.close()
        return response


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    async with web_server(site) as origin:
        site.origin = origin
        yield site


async def test_a_file_arrives_as_it_is(site: Site) -> None:
    assert await fetch(fetcher_for([site.origin]), f"{site.origin}/good") == png()


async def test_nothing_about_us_goes_along(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    await fetch(fetcher_for([site.origin]), f"{site.origin}/to?url=/good#fragment")
    assert [request.path for request in site.seen] == ["/to", "/good"]
    for request in site.seen:
        assert not {"Cookie", "Authorization", "Referer", "Proxy-Authorization"} & set(request.headers)


EXACT = [
    "/photo%20%281%29.png?response-content-type=image%2Fpng&sig=a%2Bb%3D%3d",
    "/a%2Fb/%7Euser//x.png?q=%E4%B8%AD&empty=&plus=a+b",
    "/p(1),[2]!$&'*;=:@.png?x=(1)&y=[2]&z=%zz",
    "?only=a%20query",
]


@pytest.mark.parametrize("rest", EXACT)
@pytest.mark.parametrize("redirected", [False, True])
async def test_a_link_goes_out_byte_for_byte_since_a_signature_may_cover_it(rest: str, redirected: bool) -> None:
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/moved":
            return web.Response(status=302, headers={"Location": origin + rest if "?only" in rest else rest})
        seen.append(request.raw_path)
        return web.Response(body=png())

    async with web_server(answer) as origin:
        await fetch(fetcher_for([origin]), origin + ("/moved" if redirected else rest))
    assert seen == [rest if rest.startswith("/") else f"/{rest}"]


async def test_only_what_is_not_ascii_is_escaped_and_a_fragment_stays_here(site: Site) -> None:
    await fetch(fetcher_for([site.origin]), f"{site.origin}/good?Z\u00fcrich=%C3%BC#part")
    assert site.seen[0].raw_path == "/good?Z%C3%BCrich=%C3%BC"


async def test_a_redirect_in_latin_1_is_followed_byte_for_byte() -> None:
    seen = list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
        moved = b"302 Found\r\nLocation: /caf\xe9.png"
        writer.write(b"HTTP/1.1 %s\r\nConnection: close\r\n\r\n" % (moved if len(seen) == 1 else b"200 OK") + png())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await fetch(fetcher_for([origin]), f"{origin}/a") == png()
    assert seen == [b"/a", b"/caf%E9.png"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(site: Site, status: int) -> None:
    fetcher = fetcher_for([site.origin])
    assert await fetch(fetcher, f"{site.origin}/to?status={status}&url={site.origin}/good") == png()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("http://169.254.169.254/latest/meta-data/", "metadata"),
        ("http://127.0.0.1:1/", "loopback"),
        ("//127.0.0.1:1/", "loopback"),
        ("http://2130706433/", "unusual spelling"),
        ("http://[::ffff:169.254.169.254]/", "metadata"),
        ("http://inner.example/", "private"),
        ("http://user:secret@inner.example/", "user or password"),
        ("file:///etc/passwd", "neither http nor https"),
        ("s3://output/.tasks/a.json", "neither http nor https"),
        ("gopher://127.0.0.1/", "neither http nor https"),
        ("", "is empty"),
        ("http://a b/", "spaces"),
        ("http://[::1/", "cannot be read"),
    ],
)
async def test_a_redirect_leads_no_further_than_a_link(site: Site, target: str, reason: str) -> None:
    async def redirect(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": target})

    async with web_server(redirect) as origin:
        fetcher = Fetcher(Limits(), frozenset([origin]), names({"inner.example": "10.0.0.8"}))
        with pytest.raises(PermanentError, match=reason) as refusal:
            await fetch(fetcher, f"{origin}/start.png")
    assert refusal.value.code == "input_refused"
    assert f"{origin}/start.png" in refusal.value.message


async def test_redirects_end(site: Site) -> None:
    with pytest.raises(PermanentError, match="more than 3 times"):
        await fetch(fetcher_for([site.origin]), f"{site.origin}/loop")
    assert len(site.seen) == 4


async def test_the_connection_goes_to_the_address_that_was_judged(site: Site) -> None:
    """DNS rebinding: the second answer is another one, but nobody asks a second time."""
    port = site.origin.rpartition(":")[2]
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    fetcher = Fetcher(Limits(), frozenset([f"http://rebind.example:{port}"]), rebinding)
    assert await fetch(fetcher, f"http://rebind.example:{port}/good") == png()
    assert site.seen[0].headers["Host"] == f"rebind.example:{port}"
    assert list(answers) == [["10.0.0.1"]]


async def test_a_name_that_is_public_first_and_private_at_the_redirect_is_refused(site: Site) -> None:
    port = site.origin.rpartition(":")[2]
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    fetcher = Fetcher(Limits(), frozenset([f"http://rebind.example:{port}"]), rebinding)
    with pytest.raises(PermanentError, match="metadata"):
        await fetch(fetcher, f"http://rebind.example:{port}/to?url=http://rebind.example/good")


@pytest.mark.parametrize("other", ["http://localhost:{port}", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
async def test_an_allowed_origin_is_exactly_that_one(site: Site, other: str) -> None:
    origin = other.format(port=site.origin.rpartition(":")[2])
    fetcher = Fetcher(Limits(), parse_origins([site.origin]), names({"localhost": "127.0.0.1"}))
    with pytest.raises(PermanentError, match="loopback"):
        await fetch(fetcher, f"{origin}/good")
    assert not site.seen


@pytest.mark.parametrize("origin", ["127.0.0.1:80", "http://a/path", "ftp://a", "http://u@a", "http://a?b", "", "*"])
def test_what_is_no_origin_cannot_be_allowed(origin: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        parse_origins([origin])


@pytest.mark.parametrize(
    ("path", "limits", "code"),
    [
        ("html", Limits(), "input_wrong_type"),
        ("empty", Limits(), "input_wrong_type"),
        ("zipped", Limits(), "input_refused"),
        ("large", Limits(bytes_per_link=100_000), "input_too_large"),
        ("large", Limits(bytes_per_task=100_000), "input_too_large"),
        ("endless", Limits(bytes_per_link=1_000_000), "input_too_large"),
        ("slow", SHORT, "input_timeout"),
        ("stalled", SHORT, "input_timeout"),
        ("silent", SHORT, "input_timeout"),
        ("status?is=404", Limits(), "input_not_found"),
        ("status?is=410", Limits(), "input_not_found"),
        ("status?is=403", Limits(), "input_forbidden"),
        ("status?is=206", Limits(), "input_not_found"),
        ("status?is=418", Limits(), "input_not_found"),
    ],
)
async def test_what_cannot_be_used_fails_for_good(site: Site, path: str, limits: Limits, code: str) -> None:
    started = time.monotonic()
    with pytest.raises(PermanentError) as failure:
        await fetch(fetcher_for([site.origin], limits), f"{site.origin}/{path}")
    assert failure.value.code == code
    assert f"{site.origin}/{path.partition('?')[0]}" in failure.value.message
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("path", ["status?is=500", "status?is=503", "status?is=429", "cut"])
async def test_what_may_work_later_is_tried_again(site: Site, path: str) -> None:
    with pytest.raises(TransientError) as failure:
        await fetch(fetcher_for([site.origin]), f"{site.origin}/{path}")
    assert failure.value.code == "input_unavailable"


async def test_a_closed_port_may_open_later() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TransientError, match="cannot be reached"):
        await fetch(fetcher_for([origin]), f"{origin}/a.png")


async def test_a_host_that_does_not_speak_http_is_refused() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        with pytest.raises(PermanentError, match="does not speak HTTP"):
            await fetch(fetcher_for([origin]), f"{origin}/")


async def test_a_certificate_must_be_valid(site: Site) -> None:
    origin = site.origin.replace("http:", "https:")
    with pytest.raises((PermanentError, TransientError)) as failure:
        await fetch(fetcher_for([origin]), f"{origin}/good")
    assert failure.value.code in {"input_refused", "input_unavailable"}


async def test_an_unknown_host_is_the_senders_mistake_and_a_silent_dns_is_not() -> None:
    async def again(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async def silent(host: str, port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(PermanentError, match="no address"):
        await fetch(Fetcher(resolve=names({})), "http://nowhere.example/a.png")
    with pytest.raises(TransientError, match="DNS"):
        await fetch(Fetcher(resolve=again), "http://somewhere.example/a.png")
    with pytest.raises(TransientError, match="DNS"):
        await fetch(Fetcher(Limits(connect_seconds=0.05), resolve=silent), "http://somewhere.example/a.png")


async def test_each_link_of_a_task_is_fetched_once_and_their_number_is_limited(site: Site) -> None:
    inputs = Inputs(fetcher_for([site.origin]), ClosedS3(), "output")
    link = f"{site.origin}/good"
    assert await inputs.fetch_all([link, link]) == {link: png()}
    assert len(site.seen) == 1
    with pytest.raises(PermanentError, match="at most 16"):
        await inputs.fetch_all([f"{link}?{number}" for number in range(17)])


async def test_a_refusal_decides_over_a_passing_trouble(site: Site) -> None:
    inputs = Inputs(fetcher_for([site.origin]), ClosedS3(), "output")
    with pytest.raises(PermanentError, match="html"):
        await inputs.fetch_all([f"{site.origin}/status?is=500", f"{site.origin}/html"])


async def test_all_links_of_a_task_share_a_deadline_and_a_budget(site: Site) -> None:
    slow = Inputs(fetcher_for([site.origin], Limits(seconds_per_task=0.2)), ClosedS3(), "output")
    with pytest.raises(PermanentError, match="together"):
        await slow.fetch_all([f"{site.origin}/slow"])
    small = Inputs(fetcher_for([site.origin], Limits(bytes_per_task=500_000)), ClosedS3(), "output")
    with pytest.raises(PermanentError, match="together"):
        await small.fetch_all([f"{site.origin}/large?1", f"{site.origin}/large?2"])


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("https://user:pass@host/a.png?X-Amz-Signature=abc", "'https://host/a.png'"),
        ("http://host?token=1", "'http://host'"),
        ("http://host/a#b", "'http://host/a'"),
    ],
)
def test_messages_show_no_secrets_of_a_link(link: str, expected: str) -> None:
    assert shown(link) == expected


async def test_a_socket_to_any_other_address_is_refused_even_if_the_check_was_passed() -> None:
    from contract.outbound import only_to

    make = only_to(["93.184.215.14"])
    with pytest.raises(OSError, match="not an address that was checked"):
        make((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))


def test_budgets_count_all_that_came() -> None:
    budget = Budget(10)
    budget.take(10, "http://a/")
    with pytest.raises(PermanentError):
        budget.take(1, "http://a/")


async def test_a_literal_address_asks_no_dns(site: Site) -> None:
    assert await fetch(Fetcher(Limits(), frozenset([site.origin]), no_dns), f"{site.origin}/good") == png()

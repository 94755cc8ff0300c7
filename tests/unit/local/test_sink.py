"""What the sink shows."""

from __future__ import annotations

import struct
import zlib
from datetime import UTC, datetime
from typing import cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from contract.heard_callbacks import KEPT, Heard, Memory, parse
from contract.hosts import AllowedHosts
from local.sink.picture import SIZE, cat_png
from local.sink.server import make_app, sentence
from local.sink.subscription import Listener

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@given(body=st.text())
def test_whatever_arrives_is_shown(body: str) -> None:
    heard = parse({"Body": body}, NOW)
    assert heard.as_json()["received_at"] == "2026-01-02T00:00:00+00:00"
    assert sentence(heard).startswith("callback: task ")


def test_a_callback_is_told_in_a_line() -> None:
    body = {"id": "a", "result": True, "image_url": ["s3://b/a-1.png", "s3://b/a-2.png"]}
    assert sentence(Heard(NOW, body, {"runtime": "sdruntime"})) == (
        "callback: task a on sdruntime succeeded s3://b/a-1.png and 1 more"
    )
    failed = {"id": "a", "result": False, "image_url": []}
    assert "failed" in sentence(Heard(NOW, failed, {}))
    assert "failed (out_of_memory)" in sentence(Heard(NOW, failed, {"status": "failed", "error_code": "out_of_memory"}))
    assert "cancelled" in sentence(Heard(NOW, failed, {"status": "cancelled"}))


def test_the_newest_are_kept_and_come_first() -> None:
    memory = Memory()
    for number in range(KEPT + 2):
        memory.add(Heard(NOW, {"id": str(number % 2), "number": number}, {}))
    found = memory.newest_first()
    assert [len(found), found[0].body["number"], found[-1].body["number"]] == [KEPT, KEPT + 1, 2]
    assert {item.body["id"] for item in memory.newest_first("1")} == {"1"}


def test_callbacks_of_one_id_are_told_apart_by_their_tenants() -> None:
    memory = Memory()
    for tenant in ("alice", "bob"):
        memory.add(Heard(NOW, {"id": "x", "tenant": "never here"}, {"tenant": tenant}))
    memory.add(Heard(NOW, {"id": "x"}, {}))

    assert [item.attributes for item in memory.newest_first("x", "alice")] == [{"tenant": "alice"}]
    assert [item.attributes for item in memory.newest_first("x", "")] == [{}]
    assert len(memory.newest_first("x")) == 3


async def test_it_answers_to_names_of_this_machine_alone() -> None:
    app = make_app(Memory(), cast("Listener", None), AllowedHosts.of("", listening_on="127.0.0.1"))
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/callbacks")).status == 200
        refused = await client.get("/callbacks", headers={"Host": "evil.example"})
        assert (refused.status, (await refused.json())["error"]["code"]) == (403, "host_not_allowed")


def test_the_sample_picture_is_a_png() -> None:
    data = cat_png()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert struct.unpack(">II", data[16:24]) == (SIZE, SIZE)
    start = data.index(b"IDAT")
    [length] = struct.unpack(">I", data[start - 4 : start])
    rows = zlib.decompress(data[start + 4 : start + 4 + length])
    assert len(rows) == SIZE * (1 + 3 * SIZE)
    assert len({rows[i : i + 3] for i in range(1, len(rows) - 3, 997)}) > 3


@pytest.mark.parametrize(
    ("origin", "read"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:9000", True),
        ("http://[::1]:8000", True),
        ("http://192.168.1.7:8000", False),
        ("https://localhost.example", False),
        ("https://studio.example", False),
        ("null", False),
        ("http://[broken", False),
    ],
)
async def test_callbacks_are_read_by_pages_of_this_machine_alone(origin: str, read: bool) -> None:
    hosts = AllowedHosts.of("", listening_on="127.0.0.1")
    async with TestClient(TestServer(make_app(Memory(), cast("Listener", None), hosts))) as client:
        answer = await client.get("/deliveries", headers={"Origin": origin})
        assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is read

"""The agents of a runtime: which of them are there, what a caller may know of them, and what asking costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from botocore.exceptions import ClientError

from api.agents import CACHE_SECONDS, MOST, Agents
from api.auth import Caller
from api.errors import UnavailableError
from contract.agents import AgentNote, Point, RunningTask
from contract.objects import agent_key
from contract.s3 import Listed

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
OPS, ALICE = Caller("ops", "ops", admin=True), Caller("alice", "alice")
RUNNING = (RunningTask(id="cat", tenant="alice"), RunningTask(id="dog", tenant="bob"))


class Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def read(self) -> bytes:
        return self._data


class Bucket:
    """S3 as far as notes need it; counts what it is asked."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self.calls: list[str] = []
        self.away = False

    def put(self, key: str, data: bytes, *, ago: float = 0) -> None:
        self.objects[key] = (data, NOW - timedelta(seconds=ago))

    async def list_folder(self, *, Bucket: str, Prefix: str, **_: str) -> AsyncIterator[Listed]:  # noqa: N803
        self.calls.append("LIST")
        if self.away:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "ListObjectsV2")
        for key, (data, modified) in sorted(self.objects.items()):
            if key.startswith(Prefix):
                yield Listed(key, modified, str(hash(data)))

    async def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        self.calls.append("GET")
        data, modified = self.objects[Key]
        return {"ETag": str(hash(data)), "ContentLength": len(data), "LastModified": modified, "Body": Body(data)}


class Place:
    """Agents, their bucket, and a clock that the tests turn."""

    def __init__(self) -> None:
        self.bucket = Bucket()
        self.seconds = 0.0
        self.agents = Agents(
            s3=self.bucket,  # type: ignore[arg-type]  # as much of it as is used
            bucket="darkroom-output",
            clock=lambda: self.seconds,
            now=lambda: NOW + timedelta(seconds=self.seconds),
        )

    def tell(self, agent: str, *, ago: float = 0, **more: Any) -> None:
        at = NOW - timedelta(seconds=ago)
        values: dict[str, Any] = {
            "agent": agent,
            "host": "pod-1",
            "state": "busy",
            "reason": "http://127.0.0.1:7860 is away",
            "since": at,
            "started_at": at,
            "written_at": at,
            "lifetime_seconds": 150,
            "slots": 1,
            "points": (Point(at.timestamp() - 60, 0, 0), Point(at.timestamp(), 45, 15)),
        }
        note = AgentNote(**(values | more))
        self.bucket.put(agent_key("sdruntime", agent), note.model_dump_json().encode(), ago=ago)

    async def ask(self, caller: Caller = OPS, *, sees_all: bool = True) -> dict[str, Any]:
        return await self.agents.describe("sdruntime", caller, sees_all=sees_all)

    async def names(self) -> list[str]:
        self.seconds += CACHE_SECONDS
        return [agent["id"] for agent in (await self.ask())["agents"]]


@pytest.fixture
def place() -> Place:
    return Place()


async def test_an_admin_sees_what_each_agent_told_last(place: Place) -> None:
    place.tell("01", running=RUNNING, version="v7")

    [agent] = (await place.ask())["agents"]

    assert (agent["state"], agent["host"], agent["version"], agent["running"]) == ("busy", "pod-1", "v7", 2)
    assert agent["tasks"] == [{"id": "cat", "tenant": "alice"}, {"id": "dog", "tenant": "bob"}]
    assert (agent["busy_seconds"], agent["idle_seconds"], agent["heard_at"]) == (45, 15, NOW)


async def test_a_tenant_sees_its_own_tasks_and_no_place(place: Place) -> None:
    place.tell("01", running=RUNNING)

    told = await place.ask(ALICE, sees_all=False)

    [agent] = told["agents"]
    assert (agent["tasks"], agent["running"]) == ([{"id": "cat", "tenant": "alice"}], 2)
    assert (agent["host"], agent["reason"]) == (None, None)
    assert "bob" not in str(told)
    assert "pod-1" not in str(told)


async def test_who_has_ended_or_is_silent_for_its_lifetime_is_not_there_and_its_gpus_time_still_counts(
    place: Place,
) -> None:
    place.tell("ended", ago=30, state="ended")
    place.tell("killed", ago=151)
    place.tell("silent", ago=149)
    place.tell("of-yesterday", ago=4000)

    told = await place.ask()

    assert [agent["id"] for agent in told["agents"]] == ["silent"]
    assert sum(minute["busy_seconds"] for minute in told["gpu"]) == pytest.approx(3 * 45)
    assert place.bucket.calls == ["LIST", "GET", "GET", "GET"]


async def test_only_what_has_changed_is_read_again_and_many_who_ask_cost_one_question(place: Place) -> None:
    place.tell("01")
    place.tell("02")
    assert await place.names() == ["01", "02"]
    place.bucket.calls.clear()

    await place.ask()
    assert place.bucket.calls == []
    place.tell("02", state="ready")
    assert await place.names() == ["01", "02"]
    assert place.bucket.calls == ["LIST", "GET"]


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 2000, b"x" * 100_000])
async def test_a_note_that_makes_no_sense_hides_no_other(place: Place, data: bytes) -> None:
    place.bucket.put(agent_key("sdruntime", "00"), data)
    place.tell("01")

    assert await place.names() == ["01"]


async def test_another_runtimes_agents_are_its_own(place: Place) -> None:
    place.tell("01")
    place.bucket.put(agent_key("sdruntime-2", "02"), place.bucket.objects[agent_key("sdruntime", "01")][0])

    assert await place.names() == ["01"]


async def test_of_very_many_those_heard_last_are_told(place: Place) -> None:
    for number in range(MOST + 5):
        place.tell(f"{number:04}", ago=100 - number / 10)

    told = await place.ask()

    assert (len(told["agents"]), told["whole"]) == (MOST, False)
    assert told["agents"][0]["id"] == "0005"


async def test_a_bucket_out_of_reach_is_said(place: Place) -> None:
    place.bucket.away = True

    with pytest.raises(UnavailableError, match="agents"):
        await place.ask()

"""One stream tells what all of a caller's tasks do, and asks S3 for little however many there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from contract.record import Status
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import finish, read_events, request, start, submit

KEYS = {"api_keys": "alice=a-key,bob=b-key", "api_admin_keys": "ops=o-key"}
ALICE, BOB, OPS = ({"x-api-key": key} for key in ("a-key", "b-key", "o-key"))


class Reader:
    """Reads a stream, and keeps what it has told."""

    def __init__(self, answer: httpx.Response) -> None:
        self._coming = read_events(answer)
        self.events: list[dict[str, Any]] = []

    async def until(self, name: str, **wanted: Any) -> dict[str, Any]:
        """Returns the first event from here on with that name and these values in its data."""
        async with asyncio.timeout(20):
            while True:
                event = await anext(self._coming)
                self.events.append(event)
                if event["event"] == name and wanted.items() <= event["data"].items():
                    return event

    def states(self, task_id: str) -> list[str]:
        return [event["data"]["status"] for event in self.events if event["data"].get("id") == task_id]


@asynccontextmanager
async def reading(api: Api, *, last: str = "", tenant: str = "", **headers: str) -> AsyncIterator[Reader]:
    headers |= {"last-event-id": last} if last else {}
    path = f"/v1/events?tenant={tenant}" if tenant else "/v1/events"
    async with api.client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Reader(answer)


async def test_a_stream_begins_with_what_is_unfinished_and_tells_each_change(api: Api) -> None:
    before = await submit(api, "from-before")
    await submit(api, "ended-before")
    await api.client.delete("/v1/tasks/ended-before")

    async with reading(api) as stream:
        ready = await stream.until("ready")
        assert stream.states("from-before") == ["queued"]
        later = await submit(api, "later")
        await stream.until("task", id="later", status="queued")
        for task in (before, later):
            await start(api, task)
            await stream.until("task", id=task["id"], status="running")
            await finish(api, task)
            last = await stream.until("task", id=task["id"], status="succeeded")

    assert ready["data"]["unfinished"] >= 1
    view = (await api.client.get("/v1/tasks/later")).json()
    assert {key: last["data"][key] for key in view if key != "images"} == {
        key: value for key, value in view.items() if key != "images"
    }
    api.messages("sdruntime", wait=1)


async def test_who_was_away_is_told_what_happened_meanwhile_and_nothing_else(api: Api) -> None:
    ended, goes_on = await submit(api, "ends-meanwhile"), await submit(api, "goes-on")
    async with reading(api) as stream:
        await stream.until("ready")
        await start(api, ended)
        last = await stream.until("task", id="ends-meanwhile", status="running")

    async with reading(api) as other:
        await other.until("ready")
        await finish(api, ended)
        await other.until("task", id="ends-meanwhile", status="succeeded")

    async with reading(api, last=last["id"]) as resumed:
        await resumed.until("ready")
    assert [event["event"] for event in resumed.events] == ["task", "ready"]
    assert resumed.states("ends-meanwhile") == ["succeeded"]

    async with reading(api, last="another-process.7") as elsewhere:
        await elsewhere.until("ready")
    assert elsewhere.events[0]["event"] == "reset"
    assert elsewhere.states(goes_on["id"]) == ["queued"]
    assert elsewhere.states("ends-meanwhile") == []
    api.messages("sdruntime", wait=1)


async def test_two_streams_of_200_unfinished_tasks_cost_one_and_little(start_api: StartApi) -> None:
    api = await start_api()
    ids = [f"many-{number}" for number in range(200)]
    tasks = {}
    for some in range(0, 200, 20):
        for task in await asyncio.gather(*(submit(api, name) for name in ids[some : some + 20])):
            tasks[task["id"]] = task

    async with reading(api) as one, reading(api) as two:
        for stream in (one, two):
            await stream.until("ready")
            assert {event["data"].get("id") for event in stream.events} >= set(ids)
        asked = api.faults.calls["get_object"]
        loop = asyncio.get_running_loop()
        began = loop.time()
        await start(api, tasks["many-0"])
        told = [await stream.until("task", id="many-0", status="running") for stream in (one, two)]
        await asyncio.sleep(3)
        seconds = loop.time() - began
        asked = api.faults.calls["get_object"] - asked
        assert told[0] == told[1]
        # Ten next in line once a second, 190 each ten seconds, one that runs twice a second.
        assert asked <= 32 * (seconds + 1), (asked, seconds)
        # One that is far back and cancelled here is told at once.
        await api.client.delete("/v1/tasks/many-150")
        async with asyncio.timeout(5):
            await two.until("task", id="many-150", status="cancelled")
    api.messages("sdruntime", wait=1)


async def test_a_stream_tells_a_tenants_own_tasks_and_an_admin_any_tenants(start_api: StartApi) -> None:
    api = await start_api(**KEYS)
    for headers, name in ((ALICE, "hers"), (BOB, "his")):
        assert (await api.client.post("/v1/tasks", json=request(name), headers=headers)).status_code == 202
    for tenant, headers in (("", ALICE), ("alice", OPS)):
        async with reading(api, tenant=tenant, **headers) as stream:
            await stream.until("ready")
            assert [event["data"]["id"] for event in stream.events if event["event"] == "task"] == ["hers"]
    fault(await api.client.get("/v1/events?tenant=alice", headers=BOB), 403, "forbidden")
    fault(await api.client.get("/v1/events?tenant=../x", headers=OPS), 400, "invalid_request")
    assert (await api.client.head("/v1/events", headers=BOB)).status_code == 200
    api.messages("sdruntime", wait=1)


async def test_a_stream_outlives_s3_and_ends_with_the_server(start_api: StartApi) -> None:
    api = await start_api(max_event_streams=1)
    task = await submit(api, "through-the-outage")
    async with reading(api) as stream:
        await stream.until("ready")
        fault(await api.client.get("/v1/events"), 503, "too_many_streams")
        api.faults.fail["get_object"] = 3
        await start(api, task)
        await stream.until("task", id=task["id"], status=Status.RUNNING)
        assert api.faults.fail["get_object"] == 0
        api.front.stopping.set()
        assert [event async for event in stream._coming] == []
    assert api.front.streams.open == 0
    api.messages("sdruntime", wait=1)


async def test_a_task_that_another_process_accepts_or_has_accepted_before_is_told_too(start_api: StartApi) -> None:
    one, other = await start_api(), await start_api()
    await submit(one, "accepted-before")
    async with reading(other) as stream:
        await stream.until("ready")
        assert stream.states("accepted-before") == ["queued"]
        task = await submit(one, "accepted-elsewhere")
        async with asyncio.timeout(5):
            await stream.until("task", id=task["id"], status="queued")
        await start(one, task)
        await finish(one, task)
        await stream.until("task", id=task["id"], status="succeeded")
        # What is listed and known already is not told again.
        after = await submit(one, "accepted-after")
        await stream.until("task", id=after["id"], status="queued")
    assert stream.states(task["id"]).count("succeeded") == 1
    one.messages("sdruntime", wait=1)

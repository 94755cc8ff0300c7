"""The list of tasks: newest first, filtered, page by page, and a tenant's own alone."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from contract import task_log
from contract.objects import LISTS
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import finish, request, start, submit
from tests.integration.api.test_tenants import ALICE, BOB, KEYS, OPS
from tests.support.waiting import eventually_async

Json = dict[str, Any]


@pytest.fixture
async def api(start_api: StartApi, request: pytest.FixtureRequest) -> Api:
    """An API in which each test has a tenant of its own."""
    name = f"t{abs(hash(request.node.name)) % 10**12}"
    api = await start_api(api_keys=f"{name}=key")
    api.client.headers["x-api-key"] = "key"
    return api


def tenant_of(api: Api) -> str:
    [key] = api.front.settings.api_keys
    return key.name


async def listed(api: Api, query: str = "", **more: Any) -> Json:
    answer = await api.client.get(f"/v1/tasks{query}", **more)
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


def ids(page: Json) -> list[str]:
    return [task["id"] for task in page["tasks"]]


async def pages(api: Api, query: str) -> list[Json]:
    """Returns all pages of a list."""
    found = [await listed(api, query)]
    while found[-1]["next"]:
        found.append(await listed(api, f"{query}&cursor={found[-1]['next']}"))
        assert len(found) < 30
    return found


async def test_tasks_are_listed_newest_first_as_soon_as_they_are_accepted(api: Api) -> None:
    assert await listed(api) == {"tasks": [], "next": None}
    accepted = [await submit(api, name) for name in ("a-1", "a-2", "b-1")]
    page = await listed(api)

    assert ids(page) == ["b-1", "a-2", "a-1"]
    assert page["next"] is None
    newest = page["tasks"][0]
    shown = (await api.client.get("/v1/tasks/b-1")).json()
    assert newest == {**{key: value for key, value in shown.items() if key != "context"}, "image_count": 0}
    assert newest["submission"] == accepted[-1]["submission"]
    assert newest["links"] == {"self": "/v1/tasks/b-1", "events": "/v1/tasks/b-1/events"}
    assert ids(await listed(api, "?id_prefix=a-")) == ["a-2", "a-1"]
    assert ids(await listed(api, "?id_prefix=a-1")) == ["a-1"]
    assert ids(await listed(api, "?tasktype=image-to-image")) == []
    assert ids(await listed(api, "?runtime=other,sdruntime&tasktype=text-to-image")) == ["b-1", "a-2", "a-1"]
    middle = accepted[1]["submitted_at"].replace("+00:00", "Z")
    assert ids(await listed(api, f"?since={middle}")) == ["b-1", "a-2"]
    assert ids(await listed(api, f"?until={middle}")) == ["a-1"]
    assert ids(await listed(api, f"?since={middle}&until={middle}")) == []


async def test_an_id_that_is_submitted_again_is_listed_once_where_it_is_newest(api: Api) -> None:
    first = await submit(api, "again")
    await submit(api, "other")
    second = await submit(api, "again")
    page = await listed(api)

    assert ids(page) == ["again", "other"]
    assert page["tasks"][0]["submission"] == second["submission"]
    answer = await api.client.get("/v1/tasks/again/submissions")
    assert [item["submission"] for item in answer.json()["submissions"]] == [second["submission"], first["submission"]]
    fault(await api.client.get("/v1/tasks/absent/submissions"), 404, "unknown_task")


async def test_states_are_found_and_failures_have_a_list_of_their_own(api: Api) -> None:
    tasks = {name: await submit(api, name) for name in ("queued", "running", "succeeded", "cancelled")}
    for name in ("running", "succeeded"):
        await start(api, tasks[name], tenant=tenant_of(api))
    await finish(api, tasks["succeeded"], tenant=tenant_of(api))
    assert (await api.client.delete("/v1/tasks/cancelled")).status_code == 200

    for status in ("queued", "running", "succeeded", "cancelled"):
        assert ids(await listed(api, f"?status={status}")) == [status]
    assert ids(await listed(api, "?status=failed")) == []
    assert ids(await listed(api, "?status=cancelled,running")) == ["cancelled", "running"]
    await submit(api, "cancelled")
    assert ids(await listed(api, "?status=failed,cancelled")) == []


async def test_pages_have_every_task_once_though_segments_are_sealed_meanwhile(api: Api) -> None:
    with mock.patch.object(task_log, "FULL", 4):
        names = [f"p-{number:02}" for number in range(11)]
        for name in names:
            await submit(api, name)
        first = await listed(api, "?limit=3")
        for number in range(6):
            await submit(api, f"late-{number}")
        rest = await pages(api, f"?limit=3&cursor={first['next']}")
    assert ids(first) == ["p-10", "p-09", "p-08"]
    assert [name for page in rest for name in ids(page)] == [f"p-{number:02}" for number in range(7, -1, -1)]
    assert all(len(page["tasks"]) <= 3 for page in rest)


async def test_a_time_in_the_past_is_found_by_halves(api: Api) -> None:
    with mock.patch.object(task_log, "FULL", 2):
        tasks = [await submit(api, f"t-{number:02}") for number in range(24)]
    before = tasks[4]["submitted_at"].replace("+00:00", "Z")
    reads = api.faults.calls[LISTS]
    page = await listed(api, f"?until={before}&limit=2")
    assert ids(page) == ["t-03", "t-02"]
    assert api.faults.calls[LISTS] - reads < 10  # of thirteen segments


async def test_a_list_that_fails_refuses_no_task_and_is_made_up_for(api: Api) -> None:
    api.faults.fail[LISTS] = 3
    with mock.patch("contract.task_lists.WAIT_SECONDS", 0.05), mock.patch("contract.task_lists._FIRST_PAUSE", 0.01):
        await submit(api, "unlisted")
        await submit(api, "next")
    api.faults.fail[LISTS] = 0
    await submit(api, "last")

    async def all_listed() -> bool:
        return ids(await listed(api)) == ["last", "next", "unlisted"]

    # What nobody waits for any more is written after a pause.
    await eventually_async(all_listed)
    api.faults.fail[LISTS] = 1
    fault(await api.client.get("/v1/tasks"), 503, "unavailable")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=done", "status"),
        ("tasktype=video", "tasktype"),
        ("since=yesterday", "since"),
        ("until=2026-13-01", "until"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("cursor=abc", "cursor"),
        ("cursor=W10", "cursor"),
        ("state=failed", "state"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(api: Api, query: str, field: str) -> None:
    assert fault(await api.client.get(f"/v1/tasks?{query}"), 400, "invalid_request")["details"][0]["field"] == field


async def test_a_cursor_is_for_the_list_that_gave_it(api: Api) -> None:
    for name in ("a", "b"):
        await submit(api, name)
    cursor = (await listed(api, "?limit=1"))["next"]
    fault(await api.client.get(f"/v1/tasks?status=failed&cursor={cursor}"), 400, "invalid_request")


async def test_a_tenant_sees_its_own_tasks_and_an_admin_everybodys(start_api: StartApi) -> None:
    api = await start_api(**KEYS)
    for name, key in (("mine", ALICE), ("hers", BOB)):
        assert (await api.client.post("/v1/tasks", json=request(name), headers=key)).status_code == 202

    assert "mine" in ids(await listed(api, headers=ALICE))
    assert "hers" not in ids(await listed(api, headers=ALICE))
    [found] = (await listed(api, "?tenant=bob&id_prefix=hers", headers=OPS))["tasks"]
    assert (found["tenant"], found["links"]["self"]) == ("bob", "/v1/tasks/hers?tenant=bob")
    assert (await api.client.get(found["links"]["self"], headers=OPS)).json()["submission"] == found["submission"]
    fault(await api.client.get("/v1/tasks?tenant=bob", headers=ALICE), 403, "forbidden")
    fault(await api.client.get("/v1/tasks?tenant=../x", headers=OPS), 400, "invalid_request")

"""A key is a tenant: what is not its own is not there for it, and the same id means two tasks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from pydantic import SecretStr

from contract.record import Status
from tests.integration.api.conftest import Api, StartApi, throttled
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import request
from tests.support.waiting import eventually

KEYS = {"api_keys": "alice=a-key,alice=a-next-key,bob=b-key", "api_admin_keys": "ops=o-key"}
ALICE, ALICE_TOO, BOB, OPS = ({"x-api-key": f"{name}-key"} for name in ("a", "a-next", "b", "o"))


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    return await start_api(**KEYS)


async def submit(api: Api, task_id: str, key: dict[str, str], **headers: str) -> dict[str, Any]:
    answer = await api.client.post("/v1/tasks", json=request(task_id), headers=key | headers)
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


def looks(api: Api, task_id: str, query: str = "") -> list[tuple[str, str]]:
    """Returns every way to look at a task, or to touch it."""
    path = f"/v1/tasks/{task_id}"
    return [
        ("GET", f"{path}{query}"),
        ("GET", f"{path}/events{query}"),
        ("DELETE", f"{path}{query}"),
        ("GET", f"/task?taskId={task_id}{query.replace('?', '&')}"),
    ]


async def test_another_tenants_task_is_answered_as_one_that_is_not_there(api: Api) -> None:
    await submit(api, "private", ALICE)

    for method, path in looks(api, "private"):
        others = await api.client.request(method, path, headers=BOB)
        nobodys = await api.client.request(method, path.replace("private", "absents"), headers=BOB)
        fault(others, 404, "unknown_task")
        assert (others.json(), set(others.headers)) == (
            json.loads(nobodys.text.replace("absents", "private")),
            set(nobodys.headers),
        )
    for key in (ALICE, ALICE_TOO):
        task = (await api.client.get("/v1/tasks/private", headers=key)).json()
        assert (task["status"], task["tenant"]) == ("queued", "alice")
    api.messages("sdruntime", wait=1)


async def test_only_an_admin_may_name_a_tenant_and_whoever_may_not_learns_nothing(api: Api) -> None:
    await submit(api, "named", ALICE)

    for task_id in ("named", "absent"):
        for tenant in ("alice", "nobody", ""):
            for method, path in looks(api, task_id, f"?tenant={tenant}"):
                fault(await api.client.request(method, path, headers=BOB), 403, "forbidden")
    assert (await api.client.get("/v1/tasks/named?tenant=alice", headers=ALICE)).status_code == 200
    api.messages("sdruntime", wait=1)


async def test_the_same_id_is_a_task_of_each_tenant(api: Api) -> None:
    hers, his = await submit(api, "twin", ALICE), await submit(api, "twin", BOB)

    assert hers["submission"] != his["submission"]
    bucket = api.deployment.place.output_bucket
    assert hers["output_location"] == f"s3://{bucket}/alice/out/puts/twin"
    assert his["output_location"] == f"s3://{bucket}/bob/out/puts/twin"
    sent = {message["metadata"]["tenant"]: message["metadata"] for message in api.messages("sdruntime", wait=5)}
    assert {tenant: metadata["submission"] for tenant, metadata in sent.items()} == {
        "alice": hers["submission"],
        "bob": his["submission"],
    }

    cancelled = await api.client.delete("/v1/tasks/twin", headers=BOB)

    assert (cancelled.status_code, cancelled.json()["tenant"]) == (200, "bob")
    assert (await api.client.get("/v1/tasks/twin", headers=ALICE)).json()["status"] == "queued"
    heard = await asyncio.to_thread(eventually, lambda: api.deployment.callbacks.heard("twin", wait=1))
    assert [(item.attributes["tenant"], item.attributes["submission"]) for item in heard] == [
        ("bob", his["submission"])
    ]
    assert "tenant" not in heard[0].body


async def test_large_contents_of_one_id_do_not_meet(api: Api) -> None:
    for key in (ALICE, BOB):
        answer = await api.client.post("/v1/tasks", json=request("large", image="x" * 300_000), headers=key)
        assert answer.status_code == 202
    references = {message["content_ref"] for message in api.messages("sdruntime", wait=5)}
    bucket = api.deployment.place.output_bucket
    assert {reference.rpartition("/")[0] for reference in references} == {
        f"s3://{bucket}/.payloads/alice/large",
        f"s3://{bucket}/.payloads/bob/large",
    }


async def test_an_idempotency_key_belongs_to_the_tenant_whichever_of_its_keys_is_used(api: Api) -> None:
    once = {"idempotency-key": "once"}
    first = await submit(api, "mine", ALICE, **once)
    again = await submit(api, "mine", ALICE_TOO, **once)
    his = await submit(api, "mine", BOB, **once)

    assert first == again
    assert his["submission"] != first["submission"]
    api.messages("sdruntime", wait=1)


async def test_an_admin_reads_follows_and_cancels_every_tenants_tasks_and_submits_its_own(api: Api) -> None:
    await submit(api, "watched", ALICE)
    own = await submit(api, "watched", OPS)

    read = await api.client.get("/v1/tasks/watched?tenant=alice", headers=OPS)
    assert (read.json()["id"], read.json()["tenant"]) == ("watched", "alice")
    assert (await api.client.get("/v1/tasks/watched", headers=OPS)).json()["submission"] == own["submission"]
    fault(await api.client.get("/v1/tasks/watched?tenant=bob", headers=OPS), 404, "unknown_task")
    fault(await api.client.get("/v1/tasks/watched?tenant=../x", headers=OPS), 404, "unknown_task")
    async with api.client.stream("GET", "/v1/tasks/watched/events?tenant=alice", headers=OPS) as stream:
        cancelled = await api.client.delete("/v1/tasks/watched?tenant=alice", headers=OPS)
        text = "".join([chunk async for chunk in stream.aiter_text()])
    assert cancelled.json()["status"] == Status.CANCELLED
    assert "event: cancelled" in text
    assert (await api.client.get("/v1/tasks/watched", headers=ALICE)).json()["status"] == "cancelled"
    assert (await api.client.get("/v1/tasks/watched", headers=OPS)).json()["status"] == "queued"
    fault(await api.client.post("/v1/tasks?tenant=alice", json=request("x"), headers=OPS), 400, "invalid_request")
    api.messages("sdruntime", wait=1)


async def test_keys_that_share_one_space_see_each_others_tasks_and_those_from_before(
    start_api: StartApi, api: Api
) -> None:
    before = await start_api()
    await submit(before, "from-before", {})
    shared = await start_api(**KEYS, api_keys_shared=True)

    task = await submit(shared, "of-the-team", ALICE)

    assert task["output_location"].endswith("/out/puts/of-the-team")
    assert task["output_location"].startswith(f"s3://{api.deployment.place.output_bucket}/out/")
    for task_id in ("of-the-team", "from-before"):
        assert (await shared.client.get(f"/v1/tasks/{task_id}", headers=BOB)).status_code == 200
        # Where keys are tenants it is nobody's, and an admin sees it.
        fault(await api.client.get(f"/v1/tasks/{task_id}", headers=ALICE), 404, "unknown_task")
        assert (await api.client.get(f"/v1/tasks/{task_id}?tenant=", headers=OPS)).status_code == 200
    assert all("tenant" not in message["metadata"] for message in api.messages("sdruntime", wait=5))


async def test_a_tenants_keys_have_one_rate_and_metrics_name_nobody(start_api: StartApi, api: Api) -> None:
    config = throttled(api.deployment.config, rate_limit=0.01, burst_limit=4)
    slow = await start_api(config=config, **KEYS)

    answers = [await slow.client.get("/v1/runtimes", headers=key) for key in (ALICE, ALICE_TOO) * 3]

    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert (await slow.client.get("/v1/runtimes", headers=BOB)).status_code == 200
    metrics = (await slow.client.get("/metrics")).text
    assert "darkroom_api_throttled_total 2.0" in metrics
    assert "alice" not in metrics


async def test_behind_a_gateway_only_what_the_gateway_says_counts(start_api: StartApi) -> None:
    secret = "what-nobody-can-guess"
    api = await start_api(
        gateway_secrets=(SecretStr(secret),), api_keys="alice=a1b2c3d4e5", api_admin_keys="ops=o1b2c3d4e5"
    )

    def through(key_id: str, **more: str) -> dict[str, str]:
        return {"x-darkroom-gateway": secret, "x-darkroom-key-id": key_id, "x-api-key": "whatever"} | more

    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await api.client.get(path)).status_code == 200
    for headers in ({}, {"x-api-key": "a1b2c3d4e5"}, through("a1b2c3d4e5", **{"x-darkroom-gateway": "guessed"})):
        for path in ("/", "/docs", "/openapi.json", "/v1/runtimes", "/nowhere"):
            fault(await api.client.get(path, headers=headers), 401, "unauthorized")
        fault(await api.client.post("/v1/tasks", json=request("x"), headers=headers), 401, "unauthorized")

    hers = await submit(api, "through", through("a1b2c3d4e5"))
    his = await submit(api, "through", through("b1b2c3d4e5"))

    assert "/alice/" in hers["output_location"]
    assert "/b1b2c3d4e5/" in his["output_location"]
    page = await api.client.get("/", headers=through("b1b2c3d4e5"))
    assert page.status_code == 200
    watched = await api.client.get("/v1/tasks/through?tenant=alice", headers=through("o1b2c3d4e5"))
    assert watched.json()["submission"] == hers["submission"]
    two = [*through("a1b2c3d4e5").items(), ("x-darkroom-key-id", "o1b2c3d4e5")]
    fault(await api.client.get("/v1/tasks/through", headers=two), 401, "unauthorized")
    api.messages("sdruntime", wait=1)

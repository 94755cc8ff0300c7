"""A task is shown with what it asked for, and sent again once it has ended: as it was, or changed."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from contract.record import Failure, Status
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.integration.api.test_tasks import finish, request, start, submit
from tests.integration.api.test_tenants import ALICE, BOB, KEYS, OPS
from tests.support.waiting import until

Json = dict[str, Any]


async def failed(api: Api, task_id: str, **content: Any) -> Json:
    """Submits a task that fails, and takes its message."""
    task = await submit(api, task_id, **content)
    await start(api, task)
    await finish(api, task, Status.FAILED, error=Failure(code="runtime_error", message="text"))
    api.message("sdruntime", task_id)
    return task


async def retried(api: Api, task_id: str, query: str = "", **more: Any) -> Json:
    answer = await api.client.post(f"/v1/tasks/{task_id}/retry{query}", **more)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/tasks/{task_id}"
    body: Json = answer.json()
    return body


async def test_a_failed_task_is_sent_again_as_it_was(api: Api) -> None:
    before = await failed(api, "retry-plain", seed=7)
    shown = (await api.client.get("/v1/tasks/retry-plain/request")).json()
    again = await retried(api, "retry-plain")

    assert shown == {**request("retry-plain", seed=7)["task"], "left_out": []}
    assert again["submission"] != before["submission"]
    message = api.message("sdruntime", "retry-plain")
    assert message["content"] == {"prompt": "A dog", "seed": 7}
    assert message["metadata"]["submission"] == again["submission"]
    assert message["metadata"]["context"] == {"abc": 123}
    views = (await api.client.get("/v1/tasks/retry-plain/submissions")).json()["submissions"]
    assert [view["status"] for view in views] == ["queued", "failed"]
    assert (await api.client.get("/v1/tasks/retry-plain/request")).json() == shown


async def test_a_retry_may_change_its_request(api: Api) -> None:
    await failed(api, "retry-changed")
    changes = {"content": {"prompt": "A cat"}, "metadata": {"context": "new"}}
    await retried(api, "retry-changed", json=changes)

    message = api.message("sdruntime", "retry-changed")
    assert (message["content"], message["metadata"]["context"]) == ({"prompt": "A cat"}, "new")
    assert message["metadata"]["prefix"] == "out/puts"
    shown = (await api.client.get("/v1/tasks/retry-changed/request")).json()
    assert (shown["content"], shown["metadata"]["context"]) == ({"prompt": "A cat"}, "new")


async def test_a_task_that_has_not_ended_is_not_sent_again(api: Api) -> None:
    task = await submit(api, "retry-early")
    fault(await api.client.post("/v1/tasks/retry-early/retry"), 409, "not_ended")
    headers = {"idempotency-key": "retry-early"}
    error = fault(await api.client.post("/v1/tasks/retry-early/retry", headers=headers), 409, "not_ended")
    assert error["details"] == {"id": "retry-early", "status": "queued"}
    await start(api, task)
    await finish(api, task)
    await retried(api, "retry-early", headers=headers)
    fault(await api.client.post("/v1/tasks/absent/retry"), 404, "unknown_task")
    api.messages("sdruntime", wait=1)


async def test_of_retries_at_once_one_happens(api: Api) -> None:
    await failed(api, "retry-race")
    answers = await asyncio.gather(*(api.client.post("/v1/tasks/retry-race/retry") for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409]
    assert {fault(answer, 409, "not_ended")["code"] for answer in answers if answer.status_code == 409}
    api.message("sdruntime", "retry-race")


async def test_the_same_key_retries_once(api: Api) -> None:
    await failed(api, "retry-key")
    headers = {"idempotency-key": "retry-key"}
    answers = await asyncio.gather(*(api.client.post("/v1/tasks/retry-key/retry", headers=headers) for _ in range(3)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["submission"] for answer in answers}) == 1
    later = await retried(api, "retry-key", headers=headers)
    assert later["submission"] == answers[0].json()["submission"]
    # Sendings that overlap may each publish it; the agent knows it by its submission.
    assert {message["metadata"]["submission"] for message in api.messages("sdruntime", wait=5)} == {later["submission"]}
    other = await api.client.post("/v1/tasks/retry-key/retry", headers=headers, json={"content": {"prompt": "x"}})
    fault(other, 409, "idempotency_conflict")


async def test_a_retry_waits_as_a_submission_does(api: Api) -> None:
    await failed(api, "retry-wait")

    async def work() -> None:
        message = await until(lambda: api.messages("sdruntime", wait=1))
        task = {"id": "retry-wait", "submission": message[0]["metadata"]["submission"]}
        await start(api, task)
        await finish(api, task)

    answer, _ = await asyncio.gather(api.client.post("/v1/tasks/retry-wait/retry?wait=20"), work())
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")


@pytest.mark.parametrize("size", [200, 6_000, 150_000])
async def test_a_request_of_any_size_is_kept(api: Api, size: int) -> None:
    image = random.Random(size).randbytes(size).hex()
    await failed(api, f"retry-{size}", init=image)
    await retried(api, f"retry-{size}")
    shown = (await api.client.get(f"/v1/tasks/retry-{size}/request")).json()
    assert shown["content"] == {"prompt": "A dog", "init": image}
    api.message("sdruntime", f"retry-{size}")


async def test_secrets_are_not_kept_and_have_to_be_sent_again(api: Api) -> None:
    extra = {"extra_data": {"api_key_comfy_org": "s3cret"}}
    await failed(api, "retry-secret", **extra)
    shown = (await api.client.get("/v1/tasks/retry-secret/request")).json()
    assert shown["left_out"] == ["/extra_data/api_key_comfy_org"]
    s3, bucket = api.deployment.clients.s3, api.deployment.place.output_bucket
    assert b"s3cret" not in s3.get_object(Bucket=bucket, Key=".tasks/retry-secret.json")["Body"].read()

    error = fault(await api.client.post("/v1/tasks/retry-secret/retry"), 409, "request_incomplete")
    assert error["details"]["left_out"] == shown["left_out"]
    await retried(api, "retry-secret", json={"content": {"prompt": "A dog", **extra}})
    assert api.message("sdruntime", "retry-secret")["content"] == {"prompt": "A dog", **extra}


async def test_what_was_not_kept_says_why_and_can_still_be_sent_with_its_content(start_api: StartApi) -> None:
    api = await start_api(keep_requests=False)
    await failed(api, "retry-off")
    error = fault(await api.client.get("/v1/tasks/retry-off/request"), 404, "request_not_kept")
    assert "KEEP_REQUESTS" in error["message"]
    fault(await api.client.post("/v1/tasks/retry-off/retry"), 404, "request_not_kept")
    await retried(api, "retry-off", json={"content": {"prompt": "A cat"}})
    assert api.message("sdruntime", "retry-off")["content"] == {"prompt": "A cat"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contents": {}}, "contents"),
        ({"metadata": {"id": "other"}}, "metadata.id"),
        ({"metadata": {"runtime": "absent"}}, "task.metadata.runtime"),
        ({"metadata": {"prefixes": "x"}}, "task.metadata.prefixes"),
        ([], "body"),
    ],
)
async def test_a_wrong_change_is_refused_by_name(api: Api, body: Any, field: str) -> None:
    task = await submit(api, "retry-wrong")
    await start(api, task)
    await finish(api, task)
    answer = await api.client.post("/v1/tasks/retry-wrong/retry", json=body)
    assert fault(answer, 400, "invalid_request")["details"][0]["field"] == field
    api.messages("sdruntime", wait=1)


async def test_a_tenant_retries_its_own_and_an_admin_only_looks(start_api: StartApi) -> None:
    api = await start_api(**KEYS)
    assert (await api.client.post("/v1/tasks", json=request("retry-mine"), headers=ALICE)).status_code == 202
    await api.client.delete("/v1/tasks/retry-mine", headers=ALICE)

    for path in ("request", "submissions"):
        fault(await api.client.get(f"/v1/tasks/retry-mine/{path}", headers=BOB), 404, "unknown_task")
        fault(await api.client.get(f"/v1/tasks/retry-mine/{path}?tenant=alice", headers=BOB), 403, "forbidden")
        look = await api.client.get(f"/v1/tasks/retry-mine/{path}?tenant=alice", headers=OPS)
        assert look.status_code == 200
    fault(await api.client.post("/v1/tasks/retry-mine/retry", headers=BOB), 404, "unknown_task")
    fault(await api.client.post("/v1/tasks/retry-mine/retry?tenant=alice", headers=OPS), 400, "invalid_request")
    assert (await api.client.post("/v1/tasks/retry-mine/retry", headers=ALICE)).status_code == 202
    api.messages("sdruntime", wait=1)

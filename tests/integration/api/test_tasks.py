"""Tasks as a resource: submit, ask, cancel, follow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from aiobotocore.session import get_session

from contract import record as transitions
from contract.identifiers import TaskRef
from contract.record import Failure, Record, Status
from contract.store import RecordStore
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.support.waiting import eventually_async, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def request(task_id: str | None = None, **content: Any) -> dict[str, Any]:
    metadata = {"runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "out/puts", "context": {"abc": 123}}
    if task_id is not None:
        metadata["id"] = task_id
    return {"task": {"metadata": metadata, "content": {"prompt": "A dog", **content}}}


async def submit(api: Api, task_id: str | None = None, **content: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/tasks", json=request(task_id, **content))
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def change(api: Api, task_id: str, transition: transitions.Transition, *, tenant: str = "") -> Record:
    """Changes a record as an agent does."""
    async with get_session().create_client("s3", endpoint_url=api.deployment.endpoint) as s3:
        store = RecordStore(s3, api.deployment.place.output_bucket)
        return (await store.change(TaskRef(task_id, tenant), transition)).record


async def start(api: Api, task: dict[str, Any], *, tenant: str = "") -> None:
    begin = partial(transitions.start, submission=task["submission"], holder="agent", now=NOW)
    await change(api, task["id"], begin, tenant=tenant)


async def finish(
    api: Api, task: dict[str, Any], status: Status = Status.SUCCEEDED, *, tenant: str = "", **more: Any
) -> None:
    await change(
        api,
        task["id"],
        partial(
            transitions.finish,
            submission=task["submission"],
            holder="agent",
            attempt=1,
            status=status,
            now=NOW,
            **more,
        ),
        tenant=tenant,
    )


async def test_a_task_without_id_gets_one_and_is_found_at_its_location(api: Api) -> None:
    answer = await api.client.post("/v1/tasks", json=request())

    assert answer.status_code == 202
    task = answer.json()
    assert answer.headers["location"] == f"/v1/tasks/{task['id']}" == task["links"]["self"]
    shown = (await api.client.get(answer.headers["location"])).json()
    assert shown["status"] == "queued"
    assert shown["context"] == {"abc": 123}
    assert shown["submission"] == task["submission"]
    assert shown["output_location"] == task["output_location"]
    assert api.message("sdruntime", task["id"])["metadata"]["prefix"] == "out/puts"


async def test_a_trailing_slash_and_the_gateways_prefix_are_accepted_without_a_redirect(start_api: StartApi) -> None:
    api = await start_api(root_path="/prod")

    for number, path in enumerate(["/v1/tasks", "/v1/tasks/", "/prod/v1/tasks", "/prod/v1/tasks/"]):
        answer = await api.client.post(path, json=request(f"slash-{number}"))
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/prod/v1/tasks/slash-{number}"
    for path in ("/v1alpha2/", "/v1alpha1/", "/task/"):
        assert (await api.client.post(path, json={})).status_code == 400
    for path in ("/prod", "/prod/", "/docs/", "/healthz/", "/v1/runtimes/", "/v1/tasks/slash-0/"):
        assert (await api.client.get(path)).status_code == 200, path
    api.messages("sdruntime")


@pytest.mark.parametrize("task_id", ["päckchen 🐕 #1?", "100%", "a+b&c=d"])
async def test_ids_with_unusual_characters_go_all_the_way(api: Api, task_id: str) -> None:
    answer = await api.client.post("/v1/tasks", json=request(task_id))

    assert answer.status_code == 202, answer.text
    assert (await api.client.get(answer.headers["location"])).json()["id"] == task_id
    assert (await api.client.get("/task", params={"taskId": task_id})).json()["taskId"] == task_id
    assert api.message("sdruntime", task_id)["metadata"]["id"] == task_id


async def test_a_large_content_travels_by_reference(api: Api) -> None:
    image = "A" * (8 * 1024 * 1024)

    task = await submit(api, "large", init_images=[image])

    message = api.message("sdruntime", "large")
    assert "content" not in message
    bucket, _, key = message["content_ref"].removeprefix("s3://").partition("/")
    assert bucket == api.deployment.place.output_bucket
    assert key == f".payloads/large/{task['submission']}.json"
    assert json.loads(api.deployment.object(key)) == {"prompt": "A dog", "init_images": [image]}


@pytest.mark.parametrize("characters", ["x", "\ufffe", "\u00e4", "\U0001f415"])
async def test_just_below_and_above_the_limit_of_sns_nothing_is_lost(api: Api, characters: str) -> None:
    for size in (250_000, 258_000, 270_000):
        content = characters * (size // len(characters.encode()))
        await submit(api, "border", text=content)
        message = api.message("sdruntime", "border")
        if "content_ref" in message:
            document = json.loads(api.deployment.object(message["content_ref"].split("/", 3)[3]))
        else:
            document = message["content"]
        assert document["text"] == content


async def test_a_finished_task_shows_links_that_open(api: Api) -> None:
    task = await submit(api, "finished ü")
    key = "out/puts/finished ü/finished ü-abcd-1.png"
    bucket = api.deployment.place.output_bucket
    api.deployment.clients.s3.put_object(Bucket=bucket, Key=key, Body=b"image")
    await start(api, task)
    await finish(api, task, image_url=[f"s3://{bucket}/{key}"], output_url=f"s3://{bucket}/{key}.out")

    shown = (await api.client.get("/v1/tasks/finished ü")).json()

    assert shown["status"] == "succeeded"
    assert shown["images"][0]["s3"] == f"s3://{bucket}/{key}"
    assert shown["output"]["s3"] == f"s3://{bucket}/{key}.out"
    assert (await api.client.get(shown["images"][0]["url"])).content == b"image"
    state = (await api.client.get("/task", params={"taskId": "finished ü"})).json()
    assert state["taskStatus"] == "finished"
    assert state["processRes"]["cnt"] == 1
    assert (await api.client.get(state["processRes"]["images"][0])).content == b"image"
    api.messages("sdruntime")


async def test_links_go_to_the_public_endpoint_or_the_cdn(start_api: StartApi) -> None:
    public = await start_api(public_s3_endpoint_url="http://localhost.example:4566")
    cdn = await start_api(cdn_base_url="https://cdn.example/images/")
    task = await submit(public, "linked")
    await start(public, task)
    bucket = public.deployment.place.output_bucket
    await finish(public, task, image_url=[f"s3://{bucket}/out/a b/ü#1.png"])

    presigned = (await public.client.get("/v1/tasks/linked")).json()["images"][0]["url"]
    assert presigned.startswith(f"http://localhost.example:4566/{bucket}/out/a%20b/%C3%BC%231.png?")
    assert "X-Amz-Signature=" in presigned
    assert (await cdn.client.get("/v1/tasks/linked")).json()["images"][0]["url"] == (
        "https://cdn.example/images/out/a%20b/%C3%BC%231.png"
    )
    public.messages("sdruntime")


async def test_a_failure_is_shown_with_its_reason(api: Api) -> None:
    task = await submit(api, "failed")
    await start(api, task)
    await finish(api, task, Status.FAILED, error=Failure(code="runtime_error", message="no such sampler"))

    assert (await api.client.get("/v1/tasks/failed")).json()["error"] == {
        "code": "runtime_error",
        "message": "no such sampler",
    }
    state = (await api.client.get("/task?taskId=failed")).json()
    assert (state["taskStatus"], state["processRes"]["error"]) == ("failed", "no such sampler")
    api.messages("sdruntime")


async def test_cancelling_a_queued_task_ends_it_and_calls_back(api: Api) -> None:
    task = await submit(api, "cancel-queued")

    answer = await api.client.delete("/v1/tasks/cancel-queued")

    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    callback = api.deployment.callbacks.wait_for("cancel-queued")
    assert callback.body == {
        "id": "cancel-queued",
        "result": False,
        "image_url": [],
        "output_url": "",
        "context": {"abc": 123},
    }
    assert callback.attributes["submission"] == task["submission"]
    record = json.loads(api.deployment.object(".tasks/cancel-queued.json"))
    assert record["current"]["callback_sent"] is True
    error = fault(await api.client.delete("/v1/tasks/cancel-queued"), 409, "already_ended")
    assert error["details"] == {"status": "cancelled"}
    api.messages("sdruntime")


async def called_back(api: Api, task_id: str) -> None:
    """Returns once a task that did not succeed was called back for; the API, in this very loop, goes on meanwhile."""
    callback = await asyncio.to_thread(api.deployment.callbacks.wait_for, task_id)
    assert callback.body["result"] is False


async def test_a_cancel_succeeds_once_its_callback_is_out(api: Api) -> None:
    await submit(api, "cancel-mute")
    api.faults.fail["publish"] = 1

    error = fault(await api.client.delete("/v1/tasks/cancel-mute"), 503, "unavailable")

    assert error["details"] == {"id": "cancel-mute", "status": "cancelled"}
    record = json.loads(api.deployment.object(".tasks/cancel-mute.json"))
    assert (record["current"]["status"], record["current"]["callback_sent"]) == ("cancelled", False)
    assert (await api.client.delete("/v1/tasks/cancel-mute")).status_code == 200
    await called_back(api, "cancel-mute")
    api.messages("sdruntime")


async def test_a_cancel_that_nobody_asks_again_for_is_called_back_for_when_sns_is_back(api: Api) -> None:
    await submit(api, "cancel-owed")
    api.faults.fail["publish"] = 2

    fault(await api.client.delete("/v1/tasks/cancel-owed"), 503, "unavailable")

    await called_back(api, "cancel-owed")
    api.messages("sdruntime")


async def submit_until_publishing(
    api: Api, task_id: str, *, with_key: bool
) -> tuple[asyncio.Task[httpx.Response], asyncio.Event]:
    """Sends a task whose message waits at SNS; returns the answer to come, and what lets the message go on."""
    headers = {"idempotency-key": task_id} if with_key else {}
    held, before = api.faults.hold.setdefault("publish", asyncio.Event()), api.faults.calls["publish"]
    sending = asyncio.create_task(api.client.post("/v1/tasks", json=request(task_id), headers=headers))
    await until(lambda: api.faults.calls["publish"] > before)
    del api.faults.hold["publish"]
    return sending, held


@pytest.mark.parametrize("with_key", [False, True])
async def test_a_task_that_is_cancelled_while_its_message_fails_is_accepted_cancelled_and_called_back(
    api: Api, with_key: bool
) -> None:
    task_id = f"cancel-failing-{with_key}"
    sending, held = await submit_until_publishing(api, task_id, with_key=with_key)

    assert (await api.client.delete(f"/v1/tasks/{task_id}")).status_code == 200
    api.faults.fail["publish"] = 1
    held.set()

    assert (await sending).status_code == 202
    await called_back(api, task_id)
    assert api.messages("sdruntime") == []


@pytest.mark.parametrize("with_key", [False, True])
async def test_while_sns_is_away_neither_the_task_nor_its_cancel_is_accepted_and_the_callback_still_comes(
    api: Api, with_key: bool
) -> None:
    task_id = f"cancel-away-{with_key}"
    sending, held = await submit_until_publishing(api, task_id, with_key=with_key)
    api.faults.fail["publish"] = 100

    fault(await api.client.delete(f"/v1/tasks/{task_id}"), 503, "unavailable")
    held.set()

    assert fault(await sending, 503, "unavailable")["details"] == {"id": task_id, "fate": "not_accepted"}
    assert (await api.client.get(f"/v1/tasks/{task_id}")).json()["status"] == "cancelled"
    api.faults.fail["publish"] = 0
    await called_back(api, task_id)
    assert api.messages("sdruntime") == []


async def test_cancelling_a_running_task_asks_its_agent(api: Api) -> None:
    task = await submit(api, "cancel-running")
    await start(api, task)

    for _ in range(2):
        answer = await api.client.delete("/v1/tasks/cancel-running")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")

    await finish(api, task)
    fault(await api.client.delete("/v1/tasks/cancel-running"), 409, "already_ended")
    api.messages("sdruntime")


async def test_a_publish_whose_answer_was_lost_is_accepted_when_an_agent_has_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent is faster than the API's look at the record."""
    api.faults.lose_answer["publish"] = 1

    async def agent() -> None:
        message = await asyncio.to_thread(api.message, "sdruntime", "overtaken")
        await start(api, {"id": "overtaken", "submission": message["metadata"]["submission"]})

    # The second change of the record is the withdrawal; it waits until the agent has begun.
    change_record = RecordStore.change
    calls = 0

    async def slow(self: RecordStore, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            await agent()
        return await change_record(self, *arguments, **more)

    monkeypatch.setattr(RecordStore, "change", slow)

    answer = await api.client.post("/v1/tasks", json=request("overtaken"))

    assert answer.status_code == 202
    assert (await api.client.get("/v1/tasks/overtaken")).json()["status"] == "running"


async def read_events(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """Yields the events of a stream as they come, to its end."""
    event: dict[str, Any] = {}
    async for line in answer.aiter_lines():
        if not line and "data" in event:
            yield event
            event = {}
        name, _, value = line.partition(": ")
        if name in {"event", "id", "data"}:
            event[name] = json.loads(value) if name == "data" else value


async def test_events_tell_each_change_and_end_with_the_task(api: Api) -> None:
    task = await submit(api, "followed")
    async with asyncio.timeout(60), api.client.stream("GET", "/v1/tasks/followed/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        coming = read_events(answer)
        events = [await anext(coming)]
        await start(api, task)
        events.append(await anext(coming))
        await finish(api, task)
        events += [event async for event in coming]

    assert [event["event"] for event in events] == ["queued", "running", "succeeded"]
    assert events[-1]["data"]["status"] == "succeeded"
    again = await api.client.get("/v1/tasks/followed/events", headers={"last-event-id": events[-1]["id"]})
    assert again.status_code == 204
    resumed = await api.client.get("/v1/tasks/followed/events", headers={"last-event-id": events[0]["id"]})
    assert resumed.text.count("event: ") == 1
    assert "event: succeeded" in resumed.text
    api.messages("sdruntime")


async def test_event_streams_end_when_the_server_stops_and_are_counted(start_api: StartApi) -> None:
    api = await start_api(max_event_streams=1)
    await submit(api, "stopped")
    async with asyncio.timeout(10), api.client.stream("GET", "/v1/tasks/stopped/events") as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        assert api.front.streams.open == 1
        fault(await api.client.get("/v1/tasks/stopped/events"), 503, "too_many_streams")
        api.front.stopping.set()
        async for _ in lines:
            pass
    assert api.front.streams.open == 0
    api.messages("sdruntime")


async def test_an_event_stream_ends_when_its_client_goes(api: Api) -> None:
    await submit(api, "left")
    async with api.client.stream("GET", "/v1/tasks/left/events") as answer:
        await anext(answer.aiter_lines())

    async def closed() -> bool:
        return api.front.streams.open == 0

    assert await eventually_async(closed)
    api.messages("sdruntime")


async def test_who_waits_is_told_the_end_if_it_comes_in_time_and_of_the_acceptance_otherwise(api: Api) -> None:
    late = await api.client.post("/v1/tasks?wait=0.4", json=request("waited"))
    assert (late.status_code, late.json()["status"]) == (202, "queued")
    asking = asyncio.create_task(
        api.client.post("/v1/tasks?wait=20", json=request("waited"), headers={"idempotency-key": "waits"})
    )

    async def waits() -> bool:
        return api.front.streams.open == 1

    assert await eventually_async(waits)
    task = (await api.client.get("/v1/tasks/waited")).json()
    await start(api, task)
    await finish(api, task, Status.FAILED, error=Failure(code="invalid", message="no"))

    ended = await asking

    shown = await api.client.get("/v1/tasks/waited")
    assert (ended.status_code, ended.json()) == (200, shown.json())
    assert ended.headers["location"] == "/v1/tasks/waited"
    again = await api.client.post("/v1/tasks?wait=20", json=request("waited"), headers={"idempotency-key": "waits"})
    assert (again.status_code, again.json()["submission"]) == (200, task["submission"])
    assert api.front.streams.open == 0
    fault(await api.client.post("/v1/tasks?wait=61", json=request("waited")), 400, "invalid_request")
    api.messages("sdruntime")


async def test_who_goes_while_he_waits_has_submitted_and_waits_no_more(start_api: StartApi) -> None:
    api = await start_api(max_event_streams=1)
    with pytest.raises(httpx.ReadTimeout):
        await api.client.post("/v1/tasks?wait=60", json=request("gone"), timeout=1)

    async def nobody_waits() -> bool:
        return api.front.streams.open == 0

    assert (await api.client.get("/v1/tasks/gone")).json()["status"] == "queued"
    assert await eventually_async(nobody_waits)
    with api.front.streams.one(""):  # no room: it is answered at once
        assert (await api.client.post("/v1/tasks?wait=60", json=request("full"), timeout=5)).status_code == 202
    api.messages("sdruntime")


async def test_runtimes_are_listed_with_their_queues(api: Api) -> None:
    await submit(api, "waiting")
    runtimes = (await api.client.get("/v1/runtimes")).json()["runtimes"]

    assert [runtime["name"] for runtime in runtimes] == ["sdruntime", "dynamicruntime", "comfyruntime"]
    assert runtimes[0]["model"] == "v1-5-pruned-emaonly.safetensors"
    assert runtimes[1]["dynamic_model"] is True
    assert runtimes[2]["tasktypes"] == ["pipeline"]
    assert set(runtimes[0]["queue"]) == {"waiting", "in_flight", "delayed"}
    assert runtimes[0]["replicas"] == {"wanted": 1, "min": 0, "max": 20}
    api.messages("sdruntime")


async def test_agents_are_listed_as_they_told_of_themselves(api: Api) -> None:
    assert (await api.client.get("/v1/runtimes/sdruntime/agents")).json() == {
        "runtime": "sdruntime",
        "agents": [],
        "gpu": [],
        "whole": True,
    }
    error = fault(await api.client.get("/v1/runtimes/nobody/agents"), 404, "unknown_runtime")
    assert "sdruntime" in error["message"]


async def test_readiness_tells_what_is_out_of_reach_and_liveness_does_not_care(start_api: StartApi) -> None:
    healthy = await start_api()
    assert (await healthy.client.get("/readyz")).json() == {
        "status": "ready",
        "checks": {"output_bucket": "ok", "task_topic": "ok", "callback_topic": "ok"},
    }
    lost = await start_api(s3_bucket="no-such-bucket-anywhere", aws_endpoint_url=healthy.deployment.endpoint)
    error = fault(await lost.client.get("/readyz"), 503, "not_ready")
    assert error["details"]["task_topic"] == "ok"
    assert error["details"]["output_bucket"] == "AWS answered 404"
    assert (await lost.client.get("/healthz")).status_code == 200


async def test_metrics_count_requests_by_route_and_tasks_by_runtime(api: Api) -> None:
    await submit(api, "counted")
    await api.client.get("/v1/tasks/counted")
    await api.client.get("/nowhere")

    text = (await api.client.get("/metrics")).text

    assert 'darkroom_api_requests_total{method="GET",route="/v1/tasks/{task_id}",status="200"} 1.0' in text
    assert 'route="unknown",status="404"} 1.0' in text
    assert 'darkroom_api_tasks_accepted_total{dialect="v1",runtime="sdruntime",tasktype="text-to-image"} 1.0' in text
    api.messages("sdruntime")


async def test_every_answer_has_the_security_headers(api: Api) -> None:
    for path in ("/", "/nowhere", "/healthz"):
        headers = (await api.client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
    policy = (await api.client.get("/")).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert urlsplit(api.deployment.endpoint).netloc in policy


async def test_the_trace_header_of_the_request_travels_with_the_task(api: Api) -> None:
    trace = "Root=1-67891233-abcdef012345678912345678;Parent=53995c3f42cd8ad8;Sampled=1"
    await api.client.post("/v1/tasks", json=request("traced"), headers={"X-Amzn-Trace-Id": trace})
    assert api.message("sdruntime", "traced")["metadata"]["trace"] == trace

    await api.client.post("/v1/tasks", json=request("traced"), headers={"X-Amzn-Trace-Id": "Root=1\nnonsense"[:6]})
    assert api.message("sdruntime", "traced")["metadata"]["trace"].startswith("Root=1")

"""Every answer that is no success has the one shape, says what is wrong, and is never a stack trace."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.integration.api.conftest import Api, StartApi, throttled
from tests.integration.api.test_seeds import seed
from tests.support.waiting import until

TASK = seed("v1alpha2-text-to-image")


def changed(**metadata: Any) -> dict[str, Any]:
    return {"task": {"metadata": TASK["task"]["metadata"] | metadata, "content": TASK["task"]["content"]}}


def fault(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Checks status and shape, and returns what is inside `error`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    error: dict[str, Any] = answer.json()["error"]
    assert list(error) == ["code", "message", "details"]
    assert error["code"] == code
    assert error["message"]
    assert "Traceback" not in answer.text
    return error


async def test_required_metadata_is_named_when_it_is_missing(api: Api) -> None:
    for missing in ("id", "runtime", "tasktype", "prefix"):
        request = changed()
        del request["task"]["metadata"][missing]
        error = fault(await api.client.post("/v1alpha2", json=request), 400, "invalid_request")
        assert error["message"] == f"task.metadata.{missing}: is required and missing"
        assert error["details"] == [{"field": f"task.metadata.{missing}", "message": "is required and missing"}]


async def test_an_unknown_runtime_is_answered_with_the_known_ones(api: Api) -> None:
    error = fault(await api.client.post("/v1alpha2", json=changed(runtime="nobody")), 400, "invalid_request")

    assert error["details"][0]["allowed"] == ["sdruntime", "dynamicruntime", "comfyruntime"]
    assert "sdruntime, dynamicruntime, comfyruntime" in error["message"]


async def test_a_task_type_that_the_runtime_cannot_do_is_answered_with_those_it_can(api: Api) -> None:
    error = fault(await api.client.post("/v1alpha2", json=changed(runtime="comfyruntime")), 400, "invalid_request")

    assert error["details"][0]["allowed"] == ["pipeline"]


MALFORMED = [
    (b"", "invalid_json"),
    (b"{", "invalid_json"),
    (b'{"task": NaN}', "invalid_json"),
    (b'{"task": Infinity}', "invalid_json"),
    (b'{"task": "\xff"}', "invalid_json"),
    (b'{"task": "\\ud800"}', "invalid_json"),
    (b"[" * 100_000, "invalid_json"),
    (b"[" * 150 + b"]" * 150, "invalid_json"),
    (b'"task"', "invalid_request"),
    (b"[]", "invalid_request"),
    (b"null", "invalid_request"),
    (b'{"task": null}', "invalid_request"),
    (b'{"task": {"metadata": [], "content": []}}', "invalid_request"),
    (b'{"task": {"metadata": {"id": "\\u0000"}, "content": {}}}', "invalid_request"),
]


@pytest.mark.parametrize("path", ["/v1alpha2", "/v1alpha1", "/task", "/v1/tasks"])
async def test_a_malformed_body_is_400(api: Api, path: str) -> None:
    for body, code in MALFORMED:
        fault(await api.client.post(path, content=body, headers={"content-type": "application/json"}), 400, code)


async def test_an_id_that_is_no_safe_key_is_400(api: Api) -> None:
    for task_id in ("../up", "a/b", "", ".hidden", "a\u202eb", "a\x00b", "x" * 257, " a", 5, None):
        error = fault(await api.client.post("/v1alpha2", json=changed(id=task_id)), 400, "invalid_request")
        assert error["details"][0]["field"] == "task.metadata.id"


async def test_only_what_is_declared_as_json_is_read(api: Api) -> None:
    body = json.dumps(changed(id="typed"))
    for accepted in (
        "application/json",
        "application/json; charset=utf-8",
        'Application/JSON; charset="UTF-8"',
        "application/vnd.api+json",
    ):
        answer = await api.client.post("/v1alpha2", content=body, headers={"content-type": accepted})
        assert answer.status_code == 200, accepted
    for refused in ("text/plain", "", "application/json; charset=latin-1", "multipart/form-data; boundary=x"):
        answer = await api.client.post("/v1alpha2", content=body, headers={"content-type": refused})
        fault(answer, 415, "unsupported_media_type")
    packed = {"content-type": "application/json", "content-encoding": "gzip"}
    fault(await api.client.post("/v1alpha2", content=body, headers=packed), 415, "unsupported_media_type")
    api.messages("sdruntime")


async def test_a_body_over_the_limit_is_413_whether_its_length_is_declared_or_not(start_api: StartApi) -> None:
    api = await start_api(max_body_bytes=2048)
    headers = {"content-type": "application/json"}

    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1024

    fault(await api.client.post("/v1alpha2", content=b" " * 4096, headers=headers), 413, "body_too_large")
    fault(await api.client.post("/v1alpha2", content=chunks(), headers=headers), 413, "body_too_large")


async def test_unknown_routes_and_methods_have_the_shape_too(api: Api) -> None:
    fault(await api.client.get("/nowhere"), 404, "unknown_route")
    error = fault(await api.client.put("/task"), 405, "method_not_allowed")
    assert "GET, HEAD, POST" in error["message"]
    assert (await api.client.put("/task")).headers["allow"] == "GET, HEAD, POST"
    fault(await api.client.get("/task"), 400, "invalid_request")


@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_client_that_offers_http_2_is_served_in_http_1(api: Api, size: int) -> None:
    """As Java's HttpClient does with the first request of a connection, if it is not told otherwise."""
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEAAEAAAAIAAAAB"}
    request = changed(id="offered")
    request["task"]["content"] = {"prompt": "x" * size}
    for _ in range(2):  # over one connection
        answer = await api.client.post("/v1alpha2", json=request, headers=offer)
        assert answer.status_code == 200, answer.text
    assert (await api.client.get("/v1/tasks/offered", headers=offer)).status_code == 200
    assert len(api.messages("sdruntime", wait=2)) == 2


async def test_many_offers_of_http_2_that_come_at_once_are_all_answered(api: Api) -> None:
    count = 500  # Python's recursion ends at a thousand
    reader, writer = await asyncio.open_connection(api.client.base_url.host, api.client.base_url.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" * count)
    answers = b""
    async with asyncio.timeout(60):
        while answers.count(b"HTTP/1.1 200 OK") < count and (more := await reader.read(65536)):
            answers += more
    writer.close()
    assert answers.count(b"HTTP/1.1 200 OK") == count


async def test_what_follows_an_offer_on_a_connection_that_is_to_close_does_not_spoil_the_answer(api: Api) -> None:
    reader, writer = await asyncio.open_connection(api.client.base_url.host, api.client.base_url.port)
    get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    writer.write(get + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n" + get + b"\r\n")
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK")


async def test_a_request_that_outlasts_the_servers_end_is_503_and_no_fault(
    start_api: StartApi, caplog: pytest.LogCaptureFixture
) -> None:
    api = await start_api(grace_period_seconds=0)
    documented = (await api.client.get("/openapi.json")).json()["paths"]["/v1alpha2"]["post"]["responses"]["503"]
    assert "stopping" in documented["description"]
    held = api.faults.hold["publish"] = asyncio.Event()
    sending = asyncio.create_task(api.client.post("/v1alpha2", json=changed(id="cut-off")))
    await until(lambda: api.faults.calls["publish"] == 1)

    api.front.stopping.set()
    api.server.should_exit = True

    answer = await sending
    assert fault(answer, 503, "stopping")["details"] == {"id": "cut-off", "fate": "unknown"}
    assert answer.headers["retry-after"]
    assert "Traceback" not in caplog.text
    held.set()


@pytest.mark.parametrize("request_line", ["NONSENSE", "POST /v1/tasks HTTP/1.1\r\nContent-Length: -1"])
async def test_what_is_no_http_is_answered_in_the_shape_too(api: Api, request_line: str) -> None:
    reader, writer = await asyncio.open_connection(api.client.base_url.host, api.client.base_url.port)
    writer.write(f"{request_line}\r\n\r\n".encode())
    async with asyncio.timeout(60):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status_line, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status_line == "HTTP/1.1 400 Bad Request"
    fault(httpx.Response(400, headers=headers, content=body), 400, "invalid_http")


async def test_an_unknown_task_is_404(api: Api) -> None:
    for task_id in ("nobody", "%00", "..%2e", "a%20", "%F0%9F%90%B6", "%ff"):
        fault(await api.client.get(f"/v1/tasks/{task_id}"), 404, "unknown_task")
        fault(await api.client.delete(f"/v1/tasks/{task_id}"), 404, "unknown_task")
        fault(await api.client.get(f"/v1/tasks/{task_id}/events"), 404, "unknown_task")
        fault(await api.client.get(f"/task?taskId={task_id}"), 404, "unknown_task")


async def test_keys_are_needed_when_there_are_some(start_api: StartApi) -> None:
    api = await start_api(api_keys="alice=first-key,bob=second-key==")

    error = fault(await api.client.get("/v1/runtimes"), 401, "unauthorized")
    assert "x-api-key" in error["message"]
    wrong = {"x-api-key": "first-key "[:-2]}
    fault(await api.client.get("/v1/runtimes", headers=wrong), 401, "unauthorized")
    fault(await api.client.post("/v1alpha2", content=b"{", headers=wrong), 401, "unauthorized")
    for key in ("first-key", "second-key=="):
        assert (await api.client.get("/v1/runtimes", headers={"x-api-key": key})).status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics", "/static/console/main.js"):
        assert (await api.client.get(path)).status_code == 200, path


async def test_a_key_that_has_used_up_its_rate_is_429_and_others_are_not(start_api: StartApi) -> None:
    config = throttled((await start_api()).deployment.config, rate_limit=0.01, burst_limit=20)
    api = await start_api(api_keys="alice=first-key,bob=second-key", config=config)
    alice, bob = {"x-api-key": "first-key"}, {"x-api-key": "second-key"}

    answers = await asyncio.gather(*(api.client.get("/v1/tasks/x", headers=alice) for _ in range(30)))

    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) == 10
    fault(refused[0], 429, "throttled")
    assert int(refused[0].headers["retry-after"]) >= 1
    assert (await api.client.get("/v1/tasks/x", headers=bob)).status_code == 404


async def test_aws_out_of_reach_is_503_and_nothing_is_accepted(api: Api) -> None:
    api.faults.fail["put_object"] = 1

    answer = await api.client.post("/v1alpha2", json=changed(id="unwritten"))

    fault(answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert api.messages("sdruntime") == []


async def test_a_task_that_cannot_be_published_is_503_and_its_record_says_so(api: Api) -> None:
    api.faults.fail["publish"] = 1

    answer = await api.client.post("/v1alpha2", json=changed(id="unpublished"))

    fault(answer, 503, "unavailable")
    task = (await api.client.get("/v1/tasks/unpublished")).json()
    assert task["status"] == "failed"
    assert task["error"]["code"] == "not_accepted"
    assert (await api.client.post("/v1alpha2", json=changed(id="unpublished"))).status_code == 200
    assert api.message("sdruntime", "unpublished")["metadata"]["submission"] != task["submission"]


async def test_of_tasks_that_are_published_together_each_client_hears_what_became_of_its_own(api: Api) -> None:
    api.faults.hold["publish"] = asyncio.Event()
    api.faults.fail["publish_batch"] = 1
    ids = [f"together-{number}" for number in range(20)]
    sending = [asyncio.create_task(api.client.post("/v1alpha2", json=changed(id=name))) for name in ids]
    async with asyncio.timeout(60):
        while api.faults.calls["put_object"] < len(ids):  # noqa: ASYNC110 - what is waited for lies in other code
            await asyncio.sleep(0.01)
        api.faults.hold["publish"].set()
        answers = await asyncio.gather(*sending)

    accepted = {name for name, answer in zip(ids, answers, strict=True) if answer.status_code == 200}
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 2 <= len(refused) <= 10
    for answer in refused:
        fault(answer, 503, "unavailable")
        assert answer.json()["error"]["details"]["fate"] == "not_accepted"
    heard = [message["metadata"]["id"] for message in api.messages("sdruntime", wait=5)]
    assert sorted(heard) == sorted(accepted)


async def test_a_read_that_fails_is_503(api: Api) -> None:
    api.faults.fail["get_object"] = 3

    fault(await api.client.get("/v1/tasks/x"), 503, "unavailable")
    fault(await api.client.delete("/v1/tasks/x"), 503, "unavailable")
    fault(await api.client.get("/task?taskId=x"), 503, "unavailable")


async def test_a_fault_of_ours_is_500_in_the_shape_with_an_id_for_the_log(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("api.routes.v1alpha2.from_v1alpha2", broken)

    answer = await api.client.post("/v1alpha2", json=TASK)

    error = fault(answer, 500, "internal_error")
    assert error["details"]["error_id"] in error["message"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/v1/runtimes", "/", "/healthz", "/v1/tasks/x/events", "/nowhere"])
async def test_a_host_name_that_is_not_ours_is_refused(api: Api, path: str) -> None:
    error = fault(await api.client.get(path, headers={"host": "evil.example:8000"}), 403, "host_not_allowed")

    assert "ALLOWED_HOSTS" in error["message"]
    assert (await api.client.get("/healthz", headers={"host": "localhost:1"})).status_code == 200


async def test_host_names_can_be_allowed(start_api: StartApi) -> None:
    api = await start_api(allowed_hosts="studio.example")

    assert (await api.client.get("/healthz", headers={"host": "studio.example"})).status_code == 200
    fault(await api.client.get("/healthz", headers={"host": "api.studio.example"}), 403, "host_not_allowed")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
@pytest.mark.parametrize("path", ["/v1alpha2", "/v1alpha1", "/task", "/v1/tasks"])
async def test_what_a_page_of_another_site_can_send_unasked_is_415(api: Api, path: str, content_type: str) -> None:
    headers = {"content-type": content_type, "origin": "http://evil.example"}
    fault(await api.client.post(path, content=json.dumps(TASK), headers=headers), 415, "unsupported_media_type")


async def test_a_key_that_nobody_reads_is_named_in_a_header_where_the_reference_ignores_it(api: Api) -> None:
    answer = await api.client.post("/v1alpha2", json=changed(webhook="https://me.example", contxt=1))

    assert (answer.status_code, set(answer.json())) == (200, {"id_task", "runtime", "output_location"})
    told = answer.headers["x-darkroom-warning"]
    assert "task.metadata.webhook: unknown key" in told
    assert "task.metadata.contxt: unknown key; did you mean 'context'?" in told
    assert "x-darkroom-warning" not in (await api.client.post("/v1alpha2", json=TASK)).headers

"""A browser application of an origin that was named can use the whole API, errors included; no other can."""

from __future__ import annotations

import httpx
import pytest

from api.cors import allowed_origins
from api.settings import Settings, SettingsError
from contract.config import parse_config
from tests.integration.api.conftest import Api, StartApi, throttled
from tests.integration.api.test_errors import TASK, changed, fault

PAGE, STRANGER = "http://localhost:5173", "https://evil.example"
ALLOW = "access-control-allow-origin"


def preflight(method: str = "POST", headers: str = "content-type,x-api-key", origin: str = PAGE) -> dict[str, str]:
    asked = {"access-control-request-method": method, "access-control-request-headers": headers}
    return {"origin": origin, **asked}


async def test_it_is_off_by_default(api: Api) -> None:
    fault(await api.client.options("/v1/tasks", headers=preflight()), 405, "method_not_allowed")
    assert ALLOW not in (await api.client.get("/v1/runtimes", headers={"origin": PAGE})).headers


@pytest.mark.parametrize(
    ("path", "method", "headers"),
    [
        ("/v1/tasks", "POST", "content-type,idempotency-key,x-api-key"),
        ("/v1/tasks/some", "DELETE", "x-api-key"),
        ("/v1/tasks/some/events", "GET", "last-event-id,x-api-key"),
        ("/v1alpha2", "POST", "content-type"),
    ],
)
async def test_a_preflight_needs_no_key_and_names_what_may_be_sent(
    start_api: StartApi, path: str, method: str, headers: str
) -> None:
    api = await start_api(cors_allowed_origins=(PAGE,), api_keys="alice=secret")

    answer = await api.client.options(path, headers=preflight(method, headers))

    assert (answer.status_code, answer.headers[ALLOW]) == (200, PAGE)
    assert method in answer.headers["access-control-allow-methods"]
    assert {*headers.split(",")} <= {*answer.headers["access-control-allow-headers"].split(", ")}
    assert "access-control-allow-credentials" not in answer.headers


async def test_answers_and_errors_can_be_read_with_the_headers_that_count(start_api: StartApi) -> None:
    config = (await start_api()).deployment.config
    api = await start_api(
        cors_allowed_origins=(PAGE,),
        api_keys="alice=secret",
        config=throttled(config, rate_limit=0.001, burst_limit=2),
    )
    page = {"origin": PAGE, "x-api-key": "secret"}

    accepted = await api.client.post("/v1/tasks", json=TASK, headers=page)
    assert accepted.status_code == 202
    refused = [
        fault_answer(await api.client.post("/v1/tasks", json=TASK, headers={"origin": PAGE}), 401),
        fault_answer(await api.client.post("/v1/tasks", json=changed(runtime="nobody"), headers=page), 400),
        fault_answer(await api.client.get("/v1/runtimes", headers=page), 429),
        fault_answer(await api.client.get("/healthz", headers=page | {"host": "evil.example"}), 403),
    ]
    for answer in [accepted, *refused]:
        assert answer.headers[ALLOW] == PAGE
        assert answer.headers["vary"] == "Origin"
        assert {"Location", "Retry-After"} <= {*answer.headers["access-control-expose-headers"].split(", ")}


async def test_what_is_refused_before_the_application_sees_it_can_be_read_too(start_api: StartApi) -> None:
    for origins, allowed in ((("https://other.example", PAGE), PAGE), (("*",), "*")):
        api = await start_api(cors_allowed_origins=origins)
        for origin, told in ((PAGE, allowed), (STRANGER, "*" if allowed == "*" else None)):
            answer = await api.client.get("/healthz", headers={"origin": origin, "x-long": "x" * 70_000})
            fault(answer, 431, "headers_too_large")
            assert answer.headers.get(ALLOW) == told


async def test_the_events_of_a_task_can_be_read(start_api: StartApi) -> None:
    api = await start_api(cors_allowed_origins=(PAGE,))
    task = (await api.client.post("/v1/tasks", json=TASK)).json()

    async with api.client.stream("GET", task["links"]["events"], headers={"origin": PAGE}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers[ALLOW] == PAGE


async def test_a_page_of_another_origin_is_told_nothing(start_api: StartApi) -> None:
    api = await start_api(cors_allowed_origins=(PAGE,))

    error = fault(await api.client.options("/v1/tasks", headers=preflight(origin=STRANGER)), 400, "cors_refused")
    assert "CORS_ALLOWED_ORIGINS" in error["message"]
    answer = await api.client.get("/v1/runtimes", headers={"origin": STRANGER})
    assert ALLOW not in answer.headers
    fault(await api.client.options("/v1/tasks", headers=preflight("PATCH")), 400, "cors_refused")


async def test_config_yaml_names_origins_where_the_environment_does_not(start_api: StartApi) -> None:
    config = throttled((await start_api()).deployment.config).with_cors(("https://studio.example",))

    for more, origin in (({}, "https://studio.example"), ({"cors_allowed_origins": (PAGE,)}, PAGE)):
        api = await start_api(config=config, **more)
        answer = await api.client.get("/healthz", headers={"origin": origin})
        assert answer.headers[ALLOW] == origin


def test_every_origin_with_credentials_is_refused() -> None:
    arn = "arn:aws:sns:us-east-1:000000000000:"
    settings = Settings(
        task_topic_arn=f"{arn}a", callback_topic_arn=f"{arn}b", s3_bucket="c", cors_allow_credentials=True
    )
    config = parse_config("modelBucketArn: arn:aws:s3:::my-models\nmodelsRuntime: [{name: a, type: comfyui}]\n")

    assert allowed_origins(settings, config) == ()
    with pytest.raises(SettingsError, match="CORS_ALLOW_CREDENTIALS: cannot be true while every origin is allowed"):
        allowed_origins(settings, config.with_cors(("*",)))


def fault_answer(answer: httpx.Response, status: int) -> httpx.Response:
    assert answer.status_code == status, answer.text
    return answer

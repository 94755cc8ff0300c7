"""v2 where Comfy's own SDK does not go: wrong uploads, pages of other sites, lost answers, a gateway's prefix."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from blake3 import blake3

from contract.objects import INPUTS
from tests.integration.api.conftest import Api, StartApi, throttled
from tests.support.deployment import Deployment

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
FLOW = {"1": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}}}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    error = answer.json()["error"]
    assert error.keys() == {"code", "message", "details"}
    assert error["details"] is None or isinstance(error["details"], dict)
    return answer.status_code, error["code"]


async def upload(api: Api, data: bytes, *, headers: Any = None, **fields: str) -> httpx.Response:
    return await api.client.post(
        "/api/v2/assets", data=fields, files={"file": ("photo.png", data, "image/png")}, headers=headers
    )


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    return await start_api(comfy_api=True, input_max_bytes=200_000)


async def test_where_it_is_off_there_is_no_such_route(start_api: StartApi) -> None:
    off = await start_api()
    assert code_of(await off.client.get("/api/v2/jobs")) == (404, "unknown_route")


async def test_an_upload_is_its_bytes_and_nothing_else(api: Api) -> None:
    hash_ = f"blake3:{blake3(PNG).hexdigest()}"
    assert (await api.client.head(f"/api/v2/assets/by-hash/{hash_}")).status_code == 404
    missed = await api.client.post("/api/v2/assets/from-hash", json={"hash": hash_})
    assert code_of(missed) == (404, "blob_not_found")
    other = f"blake3:{blake3(b'other').hexdigest()}"
    assert code_of(await upload(api, PNG, file_path="photo.png", expected_hash=other)) == (409, "hash_mismatch")
    assert (await api.client.head(f"/api/v2/assets/by-hash/{hash_}")).status_code == 404

    stored = await upload(api, PNG, file_path="photo.png", content_type="text/html", expected_hash=hash_.upper())
    assert (stored.status_code, stored.json()["hash"], stored.json()["size_bytes"]) == (201, hash_, len(PNG))
    # What a browser would run is bytes.
    link = await api.client.get(f"/api/v2/assets/{stored.json()['id']}/content")
    assert link.status_code == 302
    async with httpx.AsyncClient() as anybody:
        fetched = await anybody.get(link.headers["location"])
    assert (fetched.content, fetched.headers["content-type"]) == (PNG, "application/octet-stream")
    again = await upload(api, PNG)
    assert (again.status_code, again.json()["id"], again.json()["created_new"]) == (200, stored.json()["id"], False)
    assert (await api.client.head(f"/api/v2/assets/by-hash/{hash_}")).status_code == 200


async def test_what_cannot_be_stored_is_refused(api: Api) -> None:
    before = api.deployment.object_keys(INPUTS)
    assert code_of(await upload(api, bytes(200_001))) == (413, "payload_too_large")
    assert code_of(await upload(api, b"")) == (400, "invalid_request")
    assert code_of(await api.client.post("/api/v2/assets", content=PNG)) == (422, "invalid_request")
    assert (await api.client.head("/api/v2/assets/by-hash/sha256:00")).status_code == 422
    assert api.deployment.object_keys(INPUTS) == before


async def test_a_page_of_another_site_can_neither_upload_nor_cancel(api: Api) -> None:
    foreign = {"origin": "https://elsewhere.example"}
    assert code_of(await upload(api, PNG, headers=foreign)) == (403, "cors_refused")
    assert code_of(await api.client.post("/api/v2/jobs/any/cancel", headers=foreign)) == (403, "cors_refused")
    posted = await api.client.post("/api/v2/jobs", content=b"{}", headers={**foreign, "content-type": "text/plain"})
    assert code_of(posted) == (415, "unsupported_media_type")


async def test_what_was_accepted_is_said_to_be_even_if_it_cannot_be_read_just_now(api: Api) -> None:
    api.faults.fail["get_object"] = 1
    answer = await api.client.post("/api/v2/jobs", json={"workflow": FLOW, "metadata": {"a": "b"}})
    assert (answer.status_code, answer.json()["status"], answer.json()["metadata"]) == (201, "queued", {"a": "b"})
    message = api.message("comfyruntime", answer.json()["id"])
    assert message["content"] == FLOW


async def test_links_lead_through_the_gateway_and_the_runtimes_own_address(start_api: StartApi) -> None:
    api = await start_api(comfy_api=True, root_path="/prod")
    answer = await api.client.post("/prod/deployment/comfyruntime/api/v2/jobs", json={"workflow": FLOW})
    urls = answer.json()["urls"]
    assert urls["self"] == f"/prod/deployment/comfyruntime/api/v2/jobs/{answer.json()['id']}"
    assert (await api.client.post(urls["cancel"])).json()["status"] == "canceled"
    streamed = await api.client.get(urls["events"])
    assert "event: status\n" in streamed.text
    assert '"status":"canceled"' in streamed.text


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("cursor=x", "invalid_cursor"),
        ("limit=0", "invalid_request"),
        ("status=queued", "invalid_request"),
        ("metadata[two words]=x", "invalid_metadata_filter"),
    ],
)
async def test_a_list_says_what_is_wrong_with_how_it_is_asked_for(api: Api, query: str, code: str) -> None:
    assert code_of(await api.client.get(f"/api/v2/jobs?{query}")) == (400, code)


async def test_whoever_asks_too_often_how_a_job_stands_waits_for_his_turn(
    start_api: StartApi, module_deployment: Deployment
) -> None:
    config = throttled(module_deployment.config, rate_limit=10, burst_limit=2)
    api = await start_api(comfy_api=True, config=config)
    began = time.monotonic()
    answers = await asyncio.gather(*(api.client.get("/api/v2/jobs/nobodys") for _ in range(6)))
    assert [code_of(answer) for answer in answers] == [(404, "not_found")] * 6
    assert time.monotonic() - began > 0.3
    # By any other way, and for what changes something, it is refused as ever.
    refused = await asyncio.gather(*(api.client.post("/api/v2/jobs", json={}) for _ in range(20)))
    assert (429, "throttled") in [code_of(answer) for answer in refused]
    others = await asyncio.gather(*(api.client.get("/v1/tasks/nobodys") for _ in range(20)))
    assert 429 in {answer.status_code for answer in others}
    assert api.front.streams.open == 0


async def test_where_too_many_wait_already_nobody_else_does(start_api: StartApi, module_deployment: Deployment) -> None:
    config = throttled(module_deployment.config, rate_limit=4, burst_limit=1)
    api = await start_api(comfy_api=True, config=config, max_event_streams=1)
    answers = await asyncio.gather(*(api.client.get("/api/v2/jobs/nobodys") for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [404, 404, 429]


async def test_pages_of_jobs_follow_each_other(api: Api) -> None:
    made = [
        (await api.client.post("/api/v2/jobs", json={"workflow": FLOW, "metadata": {"n": str(number)}})).json()["id"]
        for number in range(3)
    ]
    first = (await api.client.get("/api/v2/jobs?limit=2")).json()
    rest = (await api.client.get(f"/api/v2/jobs?limit=2&cursor={first['next_cursor']}")).json()
    assert [job["id"] for job in [*first["jobs"], *rest["jobs"]]][:3] == made[::-1]
    assert [job["metadata"] for job in first["jobs"]] == [{"n": "2"}, {"n": "1"}]

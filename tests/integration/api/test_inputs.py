"""Files are uploaded through the API into their tenant's own folder, whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import httpx
import pytest

from agent.inputs.fetch import Fetcher
from agent.inputs.sources import Inputs
from api.uploads import PART
from contract.objects import INPUTS, split_s3_url
from tests.integration.api.conftest import Api, StartApi
from tests.integration.api.test_errors import fault
from tests.support.waiting import eventually_async

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
LARGE = PNG + bytes(2 * PART)


BYTES = {"content-type": "application/octet-stream"}


def stored(api: Api) -> dict[str, int]:
    listed = api.deployment.clients.s3.list_objects_v2(Bucket=api.deployment.place.output_bucket, Prefix=INPUTS)
    return {item["Key"]: item["Size"] for item in listed.get("Contents", [])}


def unfinished(api: Api) -> int:
    found: Any = api.deployment.clients.s3.list_multipart_uploads(Bucket=api.deployment.place.output_bucket)
    return len(found.get("Uploads", []))


@pytest.mark.parametrize("data", [PNG, LARGE], ids=["small", "in parts"])
async def test_a_file_comes_back_by_its_link_and_is_an_input_of_its_tenants_tasks_alone(
    start_api: StartApi, data: bytes
) -> None:
    api = await start_api(api_keys="alice=alices-long-key-1,bob=bobs-long-key-12")
    answer = await api.client.post(
        "/v1/inputs?name=cat.PNG",
        content=data,
        headers={"content-type": "image/png", "x-api-key": "alices-long-key-1"},
    )

    assert answer.status_code == 201, answer.text
    body = answer.json()
    bucket, key = split_s3_url(body["s3"])
    assert key.startswith(".inputs/alice/")
    assert key.endswith(".png")
    assert body["bytes"] == len(data) == stored(api)[key]
    async with httpx.AsyncClient(trust_env=False) as anybody:
        fetched = await anybody.get(body["url"])
    assert (fetched.content, fetched.headers["content-type"]) == (data, "image/png")
    reader = Reader(api.deployment.clients.s3)
    inputs = Inputs(Fetcher(), reader, bucket)
    assert await inputs.fetch_all([body["s3"]], tenant="alice") == {body["s3"]: data}
    for other in ("bob", ""):
        with pytest.raises(Exception, match="not a file that this tenant has uploaded"):
            await inputs.fetch_all([body["s3"]], tenant=other)


class Reader:
    """The part of S3 that agents read inputs with."""

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    async def get_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803
        answer = await asyncio.to_thread(self._s3.get_object, Bucket=Bucket, Key=Key)
        return {"ContentLength": answer["ContentLength"], "Body": Stream(answer["Body"])}


class Stream:
    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._body.close()

    async def read(self, size: int) -> bytes:
        return bytes(self._body.read(size))


async def test_what_is_no_file_or_too_large_is_refused_and_leaves_nothing(start_api: StartApi) -> None:
    # No larger than what is read and forgotten: whoever sends more may be cut off before he sees the answer.
    api, too_large = await start_api(input_max_bytes=PART + 1), LARGE[: PART + 10_000]
    before = stored(api)

    fault(await api.client.post("/v1/inputs", content=b"", headers=BYTES), 400, "invalid_request")
    fault(await api.client.post("/v1/inputs", files={"file": PNG}), 415, "unsupported_media_type")
    fault(await api.client.post("/v1/inputs", content=too_large, headers=BYTES), 413, "body_too_large")
    fault(await api.client.post("/v1/inputs", content=in_pieces(too_large), headers=BYTES), 413, "body_too_large")
    fault(await api.client.post("/v1/inputs?tenant=alice", content=PNG, headers=BYTES), 400, "invalid_request")

    assert stored(api) == before
    assert unfinished(api) == 0
    assert api.front.intake.is_empty


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), PART):
        yield data[start : start + PART]


async def test_a_client_that_goes_half_way_leaves_nothing(api: Api) -> None:
    before = stored(api)

    async def broken() -> AsyncIterator[bytes]:
        yield LARGE[: PART + 100_000]
        await asyncio.sleep(0.3)
        raise httpx.WriteError("the client is gone")

    with pytest.raises(httpx.WriteError):
        await api.client.post("/v1/inputs", content=broken(), headers=BYTES)

    async def all_is_given_back() -> bool:
        return api.front.intake.is_empty and unfinished(api) == 0

    assert await eventually_async(all_is_given_back)
    assert stored(api) == before


ALICE, BOB = {"x-api-key": "alices-long-key-1"}, {"x-api-key": "bobs-long-key-12"}


async def test_a_large_file_goes_to_s3_in_parts_and_belongs_to_its_tenant_alone(start_api: StartApi) -> None:
    api = await start_api(api_keys="alice=alices-long-key-1,bob=bobs-long-key-12", upload_max_bytes=len(LARGE))
    wanted = {"bytes": len(LARGE), "name": "cat.PNG", "content_type": "image/png"}
    begun = (await api.client.post("/v1/inputs/uploads", json=wanted, headers=ALICE)).json()
    assert (begun["parts"], begun["part_bytes"]) == (3, PART)
    way = f"/v1/inputs/uploads/{begun['upload']}"

    async with httpx.AsyncClient(trust_env=False) as s3:
        for number in (1, 3):
            place = (await api.client.get(f"{way}/parts/{number}", headers=ALICE)).json()
            piece = LARGE[(number - 1) * PART : number * PART]
            assert place["bytes"] == len(piece)
            assert "content-length" in place["url"], "S3 takes just that many bytes"
            assert (await s3.put(place["url"], content=piece)).status_code == 200
        early = await api.client.post(f"{way}/complete", headers=ALICE)
        assert fault(early, 409, "upload_incomplete")["details"] == {"missing": [2]}
        fault(await api.client.get(f"{way}/parts/4", headers=ALICE), 404, "unknown_part")
        fault(await api.client.post(f"{way}/complete", headers=BOB), 404, "unknown_upload")
        assert (await api.client.delete(way, headers=BOB)).status_code == 204, "nothing of Bob's is there"
        place = (await api.client.get(f"{way}/parts/2", headers=ALICE)).json()
        assert (await s3.put(place["url"], content=LARGE[PART : 2 * PART])).status_code == 200

        done = await api.client.post(f"{way}/complete", headers=ALICE)
        assert done.status_code == 200, done.text
        assert (done.json()["s3"], done.json()["bytes"]) == (begun["s3"], len(LARGE))
        assert split_s3_url(begun["s3"])[1].startswith(".inputs/alice/")
        fetched = await s3.get(done.json()["url"])
        assert (fetched.content, fetched.headers["content-type"]) == (LARGE, "image/png")
    again = await api.client.post(f"{way}/complete", headers=ALICE)
    assert (again.status_code, again.json()["s3"]) == (200, begun["s3"]), "an answer may be lost"
    assert unfinished(api) == 0


async def test_an_upload_that_is_given_up_leaves_nothing(api: Api) -> None:
    begun = (await api.client.post("/v1/inputs/uploads", json={"bytes": 10})).json()
    way = f"/v1/inputs/uploads/{begun['upload']}"
    assert unfinished(api) == 1
    assert (await api.client.delete(way)).status_code == 204
    assert unfinished(api) == 0
    assert (await api.client.delete(way)).status_code == 204
    fault(await api.client.post(f"{way}/complete"), 404, "unknown_upload")


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [
        ({"bytes": 33 * 1024 * 1024}, 400, "invalid_request"),
        ({"bytes": 0}, 400, "invalid_request"),
        ({"bytes": 10, "part_bytes": 5}, 400, "invalid_request"),
        ({"bytes": 10, "content_type": "text/plain"}, 415, "unsupported_media_type"),
    ],
)
async def test_what_cannot_be_uploaded_in_parts_is_refused_with_its_field(
    api: Api, wanted: dict[str, Any], status: int, code: str
) -> None:
    fault(await api.client.post("/v1/inputs/uploads", json=wanted), status, code)
    assert unfinished(api) == 0

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

"""Inputs from S3: only from allowed buckets, only media, only so much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from agent.aws import open_clients
from agent.errors import PermanentError, TransientError
from agent.inputs.fetch import Fetcher, Limits
from agent.inputs.sources import Inputs, S3Reader
from tests.support.deployment import Deployment
from tests.unit.agent.runtime_support import no_dns, png


@pytest.fixture
async def s3(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[S3Reader]:
    for name, value in deployment.aws_environment().items():
        monkeypatch.setenv(name, value)
    async with AsyncExitStack() as stack:
        place = deployment.place
        yield (await open_clients(stack, region=place.region, bucket=place.output_bucket, emulated=True)).s3


def inputs(s3: S3Reader, bucket: str, limits: Limits | None = None) -> Inputs:
    return Inputs(Fetcher(limits or Limits(), resolve=no_dns), s3, bucket)


async def test_an_object_of_an_allowed_bucket_arrives_as_it_is(deployment: Deployment, s3: S3Reader) -> None:
    bucket = deployment.place.output_bucket
    links = {f"s3://{bucket}/in/a dog.png": png(1), f"s3://{bucket}/in/large.png": png(pad=2_000_000)}
    for link, data in links.items():
        deployment.clients.s3.put_object(Bucket=bucket, Key=link.removeprefix(f"s3://{bucket}/"), Body=data)
    assert await inputs(s3, bucket).fetch_all(links) == links


@pytest.mark.parametrize(
    ("key", "body", "limits", "code"),
    [
        ("absent.png", None, Limits(), "input_not_found"),
        ("text.png", b"no picture at all " * 10, Limits(), "input_wrong_type"),
        ("empty.png", b"", Limits(), "input_wrong_type"),
        ("large.png", png(pad=200_000), Limits(bytes_per_link=100_000), "input_too_large"),
        ("large.png", png(pad=200_000), Limits(bytes_per_task=100_000), "input_too_large"),
    ],
)
async def test_what_cannot_be_used_is_named(
    deployment: Deployment, s3: S3Reader, key: str, body: bytes | None, limits: Limits, code: str
) -> None:
    bucket = deployment.place.output_bucket
    if body is not None:
        deployment.clients.s3.put_object(Bucket=bucket, Key=key, Body=body)
    with pytest.raises(PermanentError) as failure:
        await inputs(s3, bucket, limits=limits).fetch_all([f"s3://{bucket}/{key}"])
    assert failure.value.code == code
    assert f"s3://{bucket}/{key}" in failure.value.message


async def test_a_bucket_that_is_gone_is_named(s3: S3Reader) -> None:
    with pytest.raises(PermanentError, match="names nothing"):
        await inputs(s3, "no-such-bucket-here").fetch_all(["s3://no-such-bucket-here/a.png"])


async def test_s3_out_of_reach_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    async with AsyncExitStack() as stack:
        clients = await open_clients(stack, region="us-east-1", bucket="bucket", emulated=True)
        with pytest.raises(TransientError, match="S3 cannot be reached"):
            await inputs(clients.s3, "bucket").fetch_all(["s3://bucket/a.png"])

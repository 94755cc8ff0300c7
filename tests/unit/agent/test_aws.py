"""What counts as AWS being out of reach, and how long the agent waits for it."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiobotocore.session import AioSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st

from agent import aws
from agent.aws import Descriptions, backoff, describe, persist
from contract.outages import is_outage


@pytest.mark.parametrize("service", ["s3", "sqs", "sns"])
def test_descriptions_of_services_say_what_botocore_reads_in_them(service: str) -> None:
    ours, botocores = Loader(file_loader=Descriptions()), Loader()
    for kind in ("service-2", "endpoint-rule-set-1", "paginators-1"):
        assert ours.load_service_model(service, kind) == botocores.load_service_model(service, kind)
    assert Descriptions().load_file("no/such/file") is None


@pytest.mark.parametrize("region", ["us-east-1", "eu-south-2", "cn-north-1", "us-gov-west-1"])
async def test_clients_of_reduced_descriptions_are_those_of_botocores(region: str) -> None:
    def facts(client: Any) -> tuple[Any, ...]:
        link = client._request_signer._signing_name, client._request_signer._signature_version
        return (client.meta.endpoint_url, client.meta.partition, client.meta.config.signature_version, *link)

    ours, botocores = AioSession(), AioSession()
    ours.register_component("data_loader", Loader(file_loader=Descriptions()))
    for service in ("s3", "sqs", "sns"):
        async with (
            ours.create_client(service, region_name=region) as one,
            botocores.create_client(service, region_name=region) as other,
        ):
            assert facts(one) == facts(other)


def refusal(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "secret words"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "PutObject",
    )


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
        ConnectTimeoutError(endpoint_url="http://127.0.0.1:1"),
        ReadTimeoutError(endpoint_url="http://127.0.0.1:1"),
        NoCredentialsError(),
        aiohttp.ServerDisconnectedError(),
        TimeoutError(),
        ConnectionResetError(),
        refusal("InternalError", 500),
        refusal("ServiceUnavailable", 503),
        refusal("SlowDown", 503),
        refusal("Throttling"),
        refusal("ExpiredToken", 400),
        refusal("ExpiredTokenException", 403),
        refusal("AccessDenied", 403),
        refusal("RequestTimeTooSkewed", 403),
        refusal("KMSThrottling"),
        refusal("KMSAccessDenied"),
        refusal("NotFound", 404),
    ],
    ids=lambda error: (
        f"{type(error).__name__} {error.response['Error']['Code'] if isinstance(error, ClientError) else ''}"
    ),
)
def test_what_may_go_away_is_waited_for(error: BaseException) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        refusal("EntityTooLarge"),
        refusal("InvalidParameterValue"),
        refusal("ReceiptHandleIsInvalid", 404),
        refusal("NoSuchKey", 404),
        ParamValidationError(report="wrong"),
        ValueError(),
    ],
    ids=lambda error: str(error)[:40],
)
def test_what_would_be_refused_again_is_not(error: BaseException) -> None:
    assert not is_outage(error)


@given(st.integers(1, 10_000))
def test_pauses_grow_to_a_bound(attempt: int) -> None:
    assert 0 < backoff(attempt) <= 10


async def test_a_call_is_repeated_until_aws_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "backoff", lambda attempt: 0.0)
    failures: list[BaseException] = [
        TimeoutError(),
        refusal("SlowDown", 503),
        EndpointConnectionError(endpoint_url="x"),
    ]

    async def call() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    assert await persist(call, "s3:PutObject") == "answer"
    assert not failures


async def test_a_refusal_is_not_repeated() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise refusal("EntityTooLarge")

    with pytest.raises(ClientError):
        await persist(call, "s3:PutObject")
    assert calls == 1


async def test_a_call_that_hangs_is_given_up_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(aws, "backoff", lambda attempt: 0.0)
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        return "answer"

    assert await persist(call, "s3:PutObject", seconds=0.05) == "answer"


@pytest.mark.parametrize("error", [refusal("AccessDenied"), BotoCoreError(), TimeoutError(), ValueError("a\nb")])
def test_an_error_is_described_in_one_line_without_what_was_sent(error: BaseException) -> None:
    text = describe(error)

    assert text
    assert "\n" not in text
    assert "secret" not in text

"""What S3's client asks, and how it tells answers, silence and refusals apart."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trustme
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import BotoCoreError, ClientError, EndpointProviderError
from obstore.exceptions import GenericError

from contract.s3 import S3, Listed, UnreachableError, aws_host, open_s3, translated
from contract.store import is_absent, is_lost_race

BUCKET = "bucket"


def answer(status: int, code: str = "") -> bytes:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>Words</Message></Error>" if code else ""
    return f'HTTP/1.1 {status} Words\r\nContent-Length: {len(body)}\r\nETag: "tag"\r\n\r\n{body}'.encode()


@dataclass
class Server:
    """Answers as it is told, the last answer again and again, and keeps what it was asked."""

    url: str = ""
    answers: list[bytes] = field(default_factory=lambda: [answer(200)])
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = [line for line in head.lower().split("\r\n") if line.startswith("content-length:")]
                self.bodies.append(await reader.readexactly(int(length[0].partition(":")[2]) if length else 0))
                self.heads.append(head)
                said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if not said:
                    await asyncio.sleep(60)
                writer.write(said)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    place = Server()
    server = await asyncio.start_server(place.serve, "127.0.0.1", 0, ssl=tls)
    place.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield place
    finally:
        server.close()
        server.close_clients()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as place:
        yield place


@pytest.fixture
def session() -> AioSession:
    session = AioSession()
    session.set_credentials("KEY", "secret")
    return session


@asynccontextmanager
async def client(session: AioSession, server: Server, *, seconds: float = 30) -> AsyncIterator[S3]:
    config = AioConfig(user_agent="darkroom-test")
    async with open_s3(session, BUCKET, region="eu-west-1", config=config, endpoint=server.url, seconds=seconds) as s3:
        yield s3


CALLS: dict[str, Callable[[S3], Awaitable[Any]]] = {
    "GetObject": lambda s3: s3.get_object(Bucket=BUCKET, Key="key"),
    "PutObject": lambda s3: s3.put_object(Bucket=BUCKET, Key="key", Body=b"{}", ContentType="application/json"),
    "HeadObject": lambda s3: s3.head_object(Bucket=BUCKET, Key="key"),
    "DeleteObject": lambda s3: s3.delete_object(Bucket=BUCKET, Key="key"),
}


async def test_a_conditional_write_is_one_signed_request_with_its_body(session: AioSession, server: Server) -> None:
    async with client(session, server) as s3:
        arguments: dict[str, Any] = {"Bucket": BUCKET, "Key": "a/b c", "Body": b"{}", "ContentType": "image/png"}
        assert await s3.put_object(**arguments, IfNoneMatch="*") == {"ETag": '"tag"'}
        await s3.put_object(**arguments, IfMatch='"old"')
        await s3.put_object(**arguments)
    create, update, overwrite = (head.split("\r\n") for head in server.heads)
    assert create[0] == "PUT /bucket/a/b%20c HTTP/1.1"
    assert "if-none-match: *" in create
    assert "content-type: image/png" in create
    assert "user-agent: darkroom-test" in create
    assert any(line.startswith("authorization: AWS4-HMAC-SHA256 Credential=KEY/") for line in create)
    assert not any(line.startswith("expect:") for line in create)
    assert 'if-match: "old"' in update
    assert not any("match" in line for line in overwrite)


@pytest.mark.parametrize("key", ["a b/c", "ü/日本/😀.png", "%41+=&$,;:@!'()*~", '?#<>|`{}^[]"', "a..b/-_.json"])
async def test_a_request_is_signed_as_botocore_signs_it_whatever_its_key(
    session: AioSession, server: Server, key: str
) -> None:
    """No emulator looks at signatures. (AWS, "Authenticating Requests: Using the Authorization Header")"""
    async with client(session, server) as s3:
        await s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}", ContentType="image/png", IfNoneMatch="*")
        await s3.get_object(Bucket=BUCKET, Key=key, IfNoneMatch='"tag"')
        await s3.delete_object(Bucket=BUCKET, Key=key)
    credentials: Any = await session.get_credentials()
    for head, body in zip(server.heads, server.bodies, strict=True):
        line, *lines = head.strip().split("\r\n")
        method, path, _ = line.split()
        assert unquote(path) == f"/{BUCKET}/{key}"
        headers = dict(item.split(": ", 1) for item in lines)
        given = dict(item.strip().split("=", 1) for item in headers["authorization"].partition(" ")[2].split(","))
        signed = {name: headers[name] for name in given["SignedHeaders"].split(";")}
        assert {"host", "x-amz-content-sha256", "x-amz-date"} <= signed.keys()
        request = AWSRequest(method, f"{server.url}{path}", headers=signed, data=body)
        request.context["timestamp"] = headers["x-amz-date"]
        auth = S3SigV4Auth(credentials, "s3", "eu-west-1")
        assert headers["x-amz-content-sha256"] == hashlib.sha256(body).hexdigest()
        canonical = auth.canonical_request(request)
        assert given["Signature"] == auth.signature(auth.string_to_sign(request, canonical), request)
    assert len(server.heads) == 3


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ExpiredToken"),
        (401, "Unauthorized"),
        (403, "AccessDenied"),
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (409, "ConditionalRequestConflict"),
        (412, "PreconditionFailed"),
        (501, "NotImplemented"),
    ],
)
async def test_a_refusal_is_botocores_error(
    session: AioSession, server: Server, operation: str, status: int, code: str
) -> None:
    server.answers = [answer(status, code if operation != "HeadObject" else "")]
    async with client(session, server) as s3:
        with pytest.raises(ClientError) as refusal:
            await CALLS[operation](s3)
    error = refusal.value
    assert error.operation_name == operation
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert error.response["Error"]["Code"] == (code if operation != "HeadObject" else str(status))
    if code == "NoSuchKey":
        assert is_absent(error)
    if status in {409, 412}:
        assert is_lost_race(error)


async def test_an_object_that_did_not_change_is_said_so(session: AioSession, server: Server) -> None:
    server.answers = [answer(304)]
    async with client(session, server) as s3:
        with pytest.raises(ClientError) as refusal:
            await s3.get_object(Bucket=BUCKET, Key="key", IfNoneMatch='"tag"')
    assert refusal.value.response["Error"]["Code"] == "304"
    assert 'if-none-match: "tag"' in server.heads[0]


async def test_a_busy_s3_is_asked_three_times(session: AioSession, server: Server) -> None:
    server.answers = [answer(503, "SlowDown")]
    async with client(session, server) as s3:
        with pytest.raises(ClientError) as refusal:
            await CALLS["PutObject"](s3)
        assert refusal.value.response["Error"]["Code"] == "SlowDown"
        assert len(server.heads) == 3
        server.answers = [answer(503, "SlowDown"), answer(200)]
        await CALLS["PutObject"](s3)


@pytest.mark.parametrize("operation", CALLS)
async def test_a_silent_s3_is_waited_for_no_longer_than_was_said(
    session: AioSession, server: Server, operation: str
) -> None:
    server.answers = [b""]
    async with client(session, server, seconds=0.2) as s3:
        with pytest.raises(TimeoutError):
            await CALLS[operation](s3)


@pytest.mark.parametrize("amount", [None, 5])
async def test_a_body_that_stops_in_the_middle_is_waited_for_no_longer_either(
    session: AioSession, server: Server, amount: int | None
) -> None:
    server.answers = [answer(200).replace(b"Length: 0", b"Length: 10") + b"half "]
    async with client(session, server, seconds=0.2) as s3:
        found = await s3.get_object(Bucket=BUCKET, Key="key")
        assert found["ContentLength"] == 10
        async with found["Body"] as body:
            if amount:
                assert await body.read(amount) == b"half "
            with pytest.raises(TimeoutError):
                await body.read(amount)


async def test_a_closed_port_is_botocores_error_without_a_secret(session: AioSession) -> None:
    async with client(session, Server(url="http://127.0.0.1:9")) as s3:
        with pytest.raises(UnreachableError) as failure:
            await CALLS["PutObject"](s3)
    assert isinstance(failure.value, BotoCoreError)
    assert "http://127.0.0.1:9/bucket/key" in str(failure.value)
    assert "secret" not in str(failure.value)
    assert "\n" not in str(failure.value)


async def test_credentials_that_botocore_renews_are_used(session: AioSession, server: Server) -> None:
    async with client(session, server) as s3:
        await CALLS["PutObject"](s3)
        credentials: Any = await session.get_credentials()
        credentials.access_key = "RENEWED"
        for _ in range(100):
            await CALLS["PutObject"](s3)
            if "Credential=RENEWED/" in server.heads[-1]:
                break
            await asyncio.sleep(0.05)
    assert "Credential=KEY/" in server.heads[0]
    assert "Credential=RENEWED/" in server.heads[-1]


async def test_missing_credentials_are_named(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with client(AioSession(), server) as s3:
        with pytest.raises(UnreachableError, match="Unable to locate credentials"):
            await CALLS["PutObject"](s3)
    assert server.heads == []


async def test_a_private_certificate_authority_is_trusted_when_botocore_trusts_it(
    session: AioSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serving(tls) as server:
        async with client(session, server) as s3:
            with pytest.raises(UnreachableError):
                await CALLS["PutObject"](s3)
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
        trusting = AioSession()
        trusting.set_credentials("KEY", "secret")
        async with client(trusting, server) as s3:
            await CALLS["PutObject"](s3)
    assert len(server.heads) == 1


@pytest.mark.parametrize("fips", ["", "true"])
@pytest.mark.parametrize("dual_stack", ["", "true"])
def test_a_regions_host_is_the_one_that_botocore_names(
    fips: str, dual_stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_USE_FIPS_ENDPOINT", fips)
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    session = AioSession()
    loader: Any = session.get_component("data_loader")
    rules = EndpointProvider(loader.load_service_model("s3", "endpoint-rule-set-1"), loader.load_data("partitions"))
    for region in ("us-east-1", "eu-central-1", "ap-south-2", "cn-north-1", "us-gov-west-1"):
        asked = {"Region": region, "UseFIPS": bool(fips), "UseDualStack": bool(dual_stack), "Bucket": BUCKET}
        if region == "cn-north-1" and fips:
            with pytest.raises(EndpointProviderError):
                rules.resolve_endpoint(**asked)
            continue
        assert rules.resolve_endpoint(**asked).url == f"https://{BUCKET}.{aws_host(session, region)}"


async def test_another_bucket_is_read_by_botocore_and_never_written(session: AioSession, server: Server) -> None:
    async with client(session, server) as s3:
        await s3.get_object(Bucket="other", Key="key")
        with pytest.raises(ValueError, match="'bucket' only"):
            await s3.delete_object(Bucket="other", Key="key")
    assert [head.split()[1] for head in server.heads] == ["/other/key"]


async def test_a_key_that_obstore_does_not_take_is_asked_for_all_the_same(session: AioSession, server: Server) -> None:
    async with client(session, server) as s3:
        await s3.get_object(Bucket=BUCKET, Key="a\x01b")
    assert [head.split()[1] for head in server.heads] == ["/bucket/a%01b"]


def test_text_that_quotes_no_status_is_an_outage() -> None:
    error = translated(GenericError("Generic S3 error: connection\nreset\n\nDebug source:\nPOST body"), "PutObject")
    assert str(error) == "S3 is out of reach: Generic S3 error: connection reset"


def page(*keys: str, more: str = "") -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-0{number}T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;tag&quot;</ETag><Size>1</Size></Contents>"
        for number, key in enumerate(keys, 1)
    )
    token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
    body = f"<ListBucketResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{contents}{token}</ListBucketResult>"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body.encode())}\r\n\r\n{body}".encode()


async def listed(s3: S3) -> list[Listed]:
    return [item async for item in s3.list_folder(Bucket=BUCKET, Prefix="a/")]


async def test_a_folder_is_listed_page_after_page_with_what_s3_says_of_times(
    session: AioSession, server: Server
) -> None:
    server.answers = [page("a/1", "a/é", more="token"), page("a/日")]
    async with client(session, server) as s3:
        found = await listed(s3)
    assert [item.key for item in found] == ["a/1", "a/é", "a/日"]
    assert found[1].modified == datetime(2026, 1, 2, tzinfo=UTC)
    assert "continuation-token=token" in server.heads[1]


async def test_a_listing_that_would_never_end_ends_with_an_error(session: AioSession, server: Server) -> None:
    server.answers = [page("a/1", "a/2", more="token")]
    async with client(session, server) as s3:
        with pytest.raises(UnreachableError, match="repeats itself"):
            await listed(s3)


@pytest.mark.parametrize("odd", ["a//x", "a/../x"])
async def test_a_key_that_obstore_does_not_take_hides_no_other(session: AioSession, server: Server, odd: str) -> None:
    everything = page("a/!", odd, "a/1")
    server.answers = [everything, everything]
    async with client(session, server) as s3:
        assert [item.key for item in await listed(s3)] == ["a/!", odd, "a/1"]

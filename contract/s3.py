"""Amazon S3 for what every task does several times: reads, conditional writes and deletions in the own bucket.

They go through obstore (Apache Arrow's object_store, in Rust), at about a fifth of the processor time that botocore
spends on a call. Names, arguments, answers and errors are botocore's, whose client does everything else.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import obstore
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.httpsession import where as bundled_certificates
from obstore.exceptions import BaseError
from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore import Attributes, PutMode
    from obstore.store import ClientConfig, S3Credential

_BYTES_PER_SECOND: Final = 1_000_000
"""A call may take its usual time, and longer by this rate."""

_RETRIES: Final = 2
_RETRY_SECONDS: Final = 10
_FIRST_BACKOFF: Final = 0.1
_LONGEST_BACKOFF: Final = 1.0
"""As botocore's standard mode: three tries."""

_CREDENTIALS_LAST: Final = timedelta(seconds=30)
"""Less than object_store wants them to last (five minutes), so that it asks botocore again, at most ten times a second:
botocore knows when they are to be renewed."""

_LISTED_AT_ONCE: Final = 200
"""Objects of a listing that are handed over in one piece; a page of S3's has up to 1,000."""

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]{1,100})</Code>")
_MESSAGE: Final = re.compile(r"<Message>([^<]{1,500})</Message>")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DETAILS: Final = "\n\nDebug source:"


class UnreachableError(BotoCoreError):
    """S3 gave no answer."""

    fmt = "S3 is out of reach: {error}"


_HEADERS: Final = frozenset(
    {"Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Type", "Storage-Class"}
)
"""Among an object's attributes, as obstore names them; all others are its user-defined metadata."""

_ODD_KEY: Final = "invalid path"
"""obstore lists nothing at all where one key has an empty segment, one of dots, or a control character."""


class _OddKeyError(Exception):
    """There is a key that obstore does not take."""


class Body:
    """An object's bytes on their way, as botocore's `StreamingBody`."""

    def __init__(self, result: obstore.GetResult, seconds: float) -> None:
        self._result = result
        self._seconds = seconds
        self._stream: AsyncIterator[Any] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        # What was not read is not wanted: the connection closes with the stream.
        self._stream = None

    async def read(self, amount: int | None = None) -> bytes:
        """Returns the next `amount` bytes or a few more, less at the end; all of it without an amount."""
        size = self._result.meta["size"] if amount is None else amount
        with _botocores_errors("GetObject"):
            async with asyncio.timeout(self._seconds + size / _BYTES_PER_SECOND):
                if amount is None:
                    return bytes(await self._result.bytes_async())
                if self._stream is None:
                    self._stream = aiter(self._result.stream(min_chunk_size=amount))
                return bytes(await anext(self._stream, b""))


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    modified: datetime
    """By S3's clock, in whole seconds."""
    etag: str = ""


class S3:
    """The S3 client of one bucket's owner.

    Args:
        bucket: calls for it go through obstore, as far as it has them.
        store: of that bucket.
        whole: opens botocore's client, for all other calls.
        seconds: that a call may take, its tries included; longer with a large body.
    """

    def __init__(self, bucket: str, store: S3Store, whole: Callable[[], Awaitable[Any]], *, seconds: float) -> None:
        self._bucket = bucket
        self._store = store
        self._open = whole
        self._opening = asyncio.Lock()
        self._whole: Any = None
        self._seconds = seconds

    async def get_object(self, *, Bucket: str, Key: str, IfNoneMatch: str | None = None) -> dict[str, Any]:  # noqa: N803 - S3's names
        """Amazon S3 GetObject.

        Returns:
            `ETag`, `ContentLength`, `LastModified` and `Body`.
        """
        if Bucket != self._bucket or not _is_plain(Key):
            condition = {} if IfNoneMatch is None else {"IfNoneMatch": IfNoneMatch}
            return dict(await (await self.whole()).get_object(Bucket=Bucket, Key=Key, **condition))
        with _botocores_errors("GetObject"):
            async with asyncio.timeout(self._seconds):
                result = await obstore.get_async(
                    self._store, Key, options=None if IfNoneMatch is None else {"if_none_match": IfNoneMatch}
                )
        meta = result.meta
        return {
            "ETag": meta["e_tag"],
            "ContentLength": meta["size"],
            "LastModified": meta["last_modified"],
            "Body": Body(result, self._seconds),
        }

    async def put_object(
        self,
        *,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: bytes,  # noqa: N803
        ContentType: str,  # noqa: N803
        ContentDisposition: str = "",  # noqa: N803
        Metadata: Mapping[str, str] | None = None,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
    ) -> dict[str, Any]:
        """Amazon S3 PutObject; `IfNoneMatch` can only be `*`.

        Returns:
            `ETag`.
        """
        self._check(Bucket)
        mode: PutMode = "overwrite"
        if IfNoneMatch is not None:
            mode = "create"
        elif IfMatch is not None:
            mode = {"e_tag": IfMatch}
        attributes: Attributes = {**(Metadata or {}), "Content-Type": ContentType}
        if ContentDisposition:
            attributes["Content-Disposition"] = ContentDisposition
        with _botocores_errors("PutObject"):
            async with asyncio.timeout(self._seconds + len(Body) / _BYTES_PER_SECOND):
                result = await obstore.put_async(
                    self._store, Key, Body, attributes=attributes, mode=mode, use_multipart=False
                )
        return {"ETag": result["e_tag"]}

    async def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        """Amazon S3 HeadObject.

        Returns:
            `ETag`, `ContentLength`, `ContentDisposition` (empty: none) and `Metadata`.
        """
        self._check(Bucket)
        with _botocores_errors("HeadObject"):
            async with asyncio.timeout(self._seconds):
                result = await obstore.get_async(self._store, Key, options={"head": True})
        metadata = {name: value for name, value in result.attributes.items() if name not in _HEADERS}
        return {
            "ETag": result.meta["e_tag"],
            "ContentLength": result.meta["size"],
            "ContentDisposition": result.attributes.get("Content-Disposition", ""),
            "Metadata": metadata,
        }

    async def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803
        """Amazon S3 DeleteObject; an object that is not there is no error."""
        self._check(Bucket)
        with _botocores_errors("DeleteObject"):
            async with asyncio.timeout(self._seconds):
                await obstore.delete_async(self._store, Key)

    async def sign(self, keys: Sequence[str], *, seconds: int) -> list[str]:
        """Returns links by which anybody may get objects of the bucket for so long, without asking S3.

        botocore takes 1 to 2 ms for a link, in which nothing else is done, and a task may have thousands of results.
        """
        with _botocores_errors("GetObject"):
            plain = [key for key in keys if _is_plain(key)]
            signed = await obstore.sign_async(self._store, "GET", plain, timedelta(seconds=seconds))
        links = dict(zip(plain, signed, strict=True))
        for key in keys:
            if key not in links:
                client = await self.whole()
                links[key] = await client.generate_presigned_url(
                    "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=seconds
                )
        return [links[key] for key in keys]

    async def sign_part(self, key: str, *, upload: str, number: int, size: int, seconds: int) -> str:
        """Returns a link by which anybody may put one part of an upload, of just that many bytes, for so long."""
        part = {"Bucket": self._bucket, "Key": key, "UploadId": upload, "PartNumber": number, "ContentLength": size}
        link: str = await (await self.whole()).generate_presigned_url("upload_part", Params=part, ExpiresIn=seconds)
        return link

    async def list_folder(
        self,
        *,
        Bucket: str,  # noqa: N803
        Prefix: str,  # noqa: N803
        StartAfter: str = "",  # noqa: N803
    ) -> AsyncIterator[Listed]:
        """Amazon S3 ListObjectsV2, page after page: yields all objects below a folder, in the order of their keys.

        The prefix is that of a whole folder: obstore finds nothing by a part of a name.

        Raises:
            UnreachableError: a page repeats what was there before: an emulator's listing would never end.
        """
        self._check(Bucket)
        last = StartAfter
        for pages in (self._list_plain, self._list_any):
            try:
                async for page in pages(Bucket, Prefix, last):
                    for item in page:
                        if item.key.encode() <= last.encode():
                            raise UnreachableError(error=f"its listing of {Prefix} repeats itself at {item.key!r}")
                        last = item.key
                        yield item
            except _OddKeyError:
                continue
            return

    async def _list_plain(self, _: str, prefix: str, after: str) -> AsyncIterator[list[Listed]]:
        try:
            stream = aiter(obstore.list(self._store, prefix, offset=after or None, chunk_size=_LISTED_AT_ONCE))
            while True:
                async with asyncio.timeout(self._seconds):
                    found = await anext(stream, None)
                if found is None:
                    return
                yield [Listed(item["path"], item["last_modified"], item["e_tag"] or "") for item in found]
        except BaseError as error:
            if _ODD_KEY in str(error):
                raise _OddKeyError from None
            raise translated(error, "ListObjectsV2") from None

    async def _list_any(self, bucket: str, prefix: str, after: str) -> AsyncIterator[list[Listed]]:
        """Lists by botocore, at ten times the processor time."""
        whole = await self.whole()
        async for page in whole.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, StartAfter=after
        ):
            yield [Listed(item["Key"], item["LastModified"], item["ETag"]) for item in page.get("Contents", [])]

    async def list_objects_v2(self, **arguments: Any) -> Any:
        """Amazon S3 ListObjectsV2, by botocore: obstore lists whole folders only (`list_folder`)."""
        return await (await self.whole()).list_objects_v2(**arguments)

    async def head_bucket(self, **arguments: Any) -> Any:
        """Amazon S3 HeadBucket, by botocore."""
        return await (await self.whole()).head_bucket(**arguments)

    async def whole(self) -> Any:
        """Returns botocore's client, opened at the first call: its description of S3 takes 5 MB."""
        async with self._opening:
            if self._whole is None:
                self._whole = await self._open()
        return self._whole

    def _check(self, bucket: str) -> None:
        if bucket != self._bucket:
            raise ValueError(f"this client writes to {self._bucket!r} only, not to {bucket!r}")


@asynccontextmanager
async def open_s3(
    session: Any, bucket: str, *, region: str, config: Any, endpoint: str = "", seconds: float
) -> AsyncIterator[S3]:
    """Opens a client, and closes it at the end.

    Args:
        session: an aiobotocore session; credentials and settings are found as it finds them.
        bucket: the service's own.
        region: of the bucket.
        config: botocore's, for the calls that it does.
        endpoint: URL of an emulator; empty: the configured one (`AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`), or AWS.
        seconds: that a call may take.
    """
    endpoint = (
        endpoint
        or ConfiguredEndpointProvider(
            full_config=session.full_config, scoped_config=session.get_scoped_config(), client_name="s3"
        ).provide()
        or ""
    )
    async with AsyncExitStack() as stack:

        async def whole() -> Any:
            client = session.create_client("s3", region_name=region, endpoint_url=endpoint or None, config=config)
            return await stack.enter_async_context(client)

        store = _make_store(session, bucket, region=region, endpoint=endpoint, user_agent=config.user_agent)
        yield S3(bucket, store, whole, seconds=seconds)


def _make_store(session: Any, bucket: str, *, region: str, endpoint: str, user_agent: str | None) -> S3Store:
    in_host_name = not endpoint and "." not in bucket
    if not endpoint:
        host = aws_host(session, region)
        endpoint = f"https://{bucket}.{host}" if in_host_name else f"https://{host}"
    options: ClientConfig = {
        # What is too long is told by the call, which knows the size of what it sends.
        "timeout": timedelta(hours=1),
        "connect_timeout": timedelta(seconds=3),
        "allow_http": endpoint.startswith("http:"),
    }
    if user_agent:
        options["user_agent"] = user_agent
    if bundle := _certificates(session):
        options["root_certificate"] = Path(bundle).read_bytes()

    async def current_credentials() -> S3Credential:
        found = await session.get_credentials()  # the session keeps what it has found
        if found is None:
            raise NoCredentialsError
        frozen = await found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_LAST,
        }

    return S3Store(
        bucket,
        region=region,
        endpoint=endpoint,
        virtual_hosted_style_request=in_host_name,
        disable_bulk_delete=True,
        credential_provider=current_credentials,
        client_options=options,
        retry_config={
            "max_retries": _RETRIES,
            "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            "backoff": {
                "init_backoff": timedelta(seconds=_FIRST_BACKOFF),
                "max_backoff": timedelta(seconds=_LONGEST_BACKOFF),
                "base": 2,
            },
        },
    )


def aws_host(session: Any, region: str) -> str:
    """Returns S3's host name in a region, which in China has another ending, and others for FIPS and dual stack.

    (Amazon S3 endpoints and quotas; the endings are in botocore's `partitions.json`.)
    """
    partitions = session.get_data("partitions")["partitions"]
    ending = next(
        (item["outputs"]["dnsSuffix"] for item in partitions if re.fullmatch(item["regionRegex"], region)),
        partitions[0]["outputs"]["dnsSuffix"],
    )
    fips = "-fips" if session.get_config_variable("use_fips_endpoint") else ""
    dual_stack = ".dualstack" if session.get_config_variable("use_dualstack_endpoint") else ""
    return f"s3{fips}{dual_stack}.{region}.{ending}"


def _certificates(session: Any) -> str:
    """Returns the path of certificate authorities to trust besides the system's; empty when those do."""
    configured = session.get_config_variable("ca_bundle")
    if configured:
        return str(configured)
    paths = ssl.get_default_verify_paths()
    has_own = Path(paths.openssl_cafile).is_file() or any(Path(paths.openssl_capath).glob("*"))
    return "" if has_own else str(bundled_certificates())


def _is_plain(key: str) -> bool:
    """Tells whether obstore takes a key as it is: it refuses empty segments and control characters.

    Segments of dots, which it refuses too, stay refused: what resolves them on the way would find another object.
    """
    return all(key.split("/")) and not _CONTROL.search(key)


@contextmanager
def _botocores_errors(operation: str) -> Iterator[None]:
    """Raises obstore's errors as botocore's: what S3 answered as ClientError, no answer as BotoCoreError."""
    try:
        yield
    except (BaseError, FileNotFoundError) as error:
        raise translated(error, operation) from None


def translated(error: Exception, operation: str) -> ClientError | UnreachableError:
    """Returns the error that botocore raises when S3 answers so.

    object_store sorts answers into kinds that lose S3's code, but its text quotes status and body: "Server returned
    non-2xx status code: 404 Not Found: <Error><Code>NoSuchKey</Code>…" (object_store, client/retry.rs).
    """
    text = str(error).partition(_DETAILS)[0]
    status = _STATUS.search(text)
    if status is None:
        return UnreachableError(error=" ".join(text.split())[:300])
    code, message = _CODE.search(text), _MESSAGE.search(text)
    return ClientError(
        {
            # A HEAD and a 304 have no body; botocore takes the status as the code then.
            "Error": {"Code": code[1] if code else status[1], "Message": message[1] if message else ""},
            "ResponseMetadata": {"HTTPStatusCode": int(status[1])},  # type: ignore[typeddict-item]
        },
        operation,
    )

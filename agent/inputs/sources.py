"""Fetches what a task's links name, from the web and from S3, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from agent.errors import PermanentError, TaskError, TransientError, deciding_error
from agent.inputs.fetch import Budget, Fetcher, check_type, refuse_scheme, shown, too_large
from agent.media import SIGNATURE_SIZE
from contract.objects import INPUTS, SAMPLE, is_own_input, is_reserved_key, split_s3_url, tenant_folder
from contract.store import error_code, is_absent

_CHUNK: Final = 256 * 1024
_DENIED: Final = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled"})
_INVALID: Final = frozenset({"InvalidObjectState", "KeyTooLongError", "InvalidBucketName", "InvalidRequest"})


class InputSource(Protocol):
    """Where the adapters get what links name."""

    async def fetch_all(
        self, links: Iterable[str], *, tenant: str = "", of_any_kind: Collection[str] = ()
    ) -> dict[str, bytes]:
        """Returns what each link names.

        Args:
            links: of one task; one that is there twice is fetched once.
            tenant: whose task it is: of the output bucket, its links may name this tenant's results alone. Empty: the
                shared space, whose tasks may name whatever lies there.
            of_any_kind: those of them that need not be an image, video or sound.

        Raises:
            PermanentError: a link is refused, or what it names cannot be used.
            TransientError: a host or S3 cannot be reached now.
        """


class S3Reader(Protocol):
    """The call of an aiobotocore S3 client that is used here."""

    async def get_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803 - S3's names
        """Returns an object's head and its body as a stream."""


class Inputs:
    """Fetches a task's links, each once, several at a time.

    Args:
        fetcher: fetches http(s) links; its limits hold for S3 too.
        s3: an aiobotocore S3 client.
        results: the output bucket, of which links may name what lies in their tenant's folder.
        buckets: the only other buckets that links may name. Keys that start with a dot are the service's own, in any.
    """

    def __init__(self, fetcher: Fetcher, s3: S3Reader, results: str, buckets: Iterable[str] = ()) -> None:
        self._fetcher = fetcher
        self._limits = fetcher.limits
        self._s3 = s3
        self._results = results
        self._buckets = frozenset({results, *buckets})

    async def fetch_all(
        self, links: Iterable[str], *, tenant: str = "", of_any_kind: Collection[str] = ()
    ) -> dict[str, bytes]:
        """See `InputSource`."""
        wanted = list(dict.fromkeys(links))
        if len(wanted) > self._limits.links:
            raise PermanentError(
                "too_many_inputs", f"the task has {len(wanted)} links; at most {self._limits.links} are fetched"
            )
        budget = Budget(self._limits.bytes_per_task)
        slots = asyncio.Semaphore(self._limits.parallel)

        async def fetch(link: str) -> bytes:
            async with slots:
                return await self._fetch(link, budget, tenant, is_media=link not in of_any_kind)

        try:
            async with asyncio.timeout(self._limits.seconds_per_task), asyncio.TaskGroup() as group:
                tasks = {link: group.create_task(fetch(link)) for link in wanted}
        except* TaskError as errors:
            raise deciding_error(errors) from None
        except* TimeoutError:
            raise PermanentError(
                "input_timeout",
                f"the links of this task did not arrive within {self._limits.seconds_per_task:g} s together",
            ) from None
        return {link: task.result() for link, task in tasks.items()}

    async def _fetch(self, link: str, budget: Budget, tenant: str, *, is_media: bool) -> bytes:
        match link.strip().partition(":")[0].lower():
            case "http" | "https":
                return await self._fetcher.fetch(link.strip(), budget, is_media=is_media)
            case "s3":
                return await self._fetch_object(link.strip(), budget, tenant, is_media=is_media)
            case _:
                raise refuse_scheme(link)

    async def _fetch_object(self, link: str, budget: Budget, tenant: str, *, is_media: bool) -> bytes:
        bucket, key = self._checked_place(link, tenant)
        try:
            async with asyncio.timeout(self._limits.seconds_per_link):
                return await self._read_object(bucket, key, link, budget, is_media=is_media)
        except ClientError as error:
            raise _s3_failure(error, link) from error
        except (BotoCoreError, TimeoutError, OSError) as error:
            raise TransientError("input_unavailable", f"S3 cannot be reached for the link {shown(link)}") from error

    def _checked_place(self, link: str, tenant: str) -> tuple[str, str]:
        try:
            bucket, key = split_s3_url(link)
        except ValueError as error:
            raise PermanentError(
                "input_refused", f"the link {shown(link)} names no object; write s3://bucket/key"
            ) from error
        if bucket not in self._buckets:
            raise PermanentError(
                "input_refused",
                f"the link {shown(link)} names a bucket that is not open for inputs; "
                f"put the file into {' or '.join(sorted(self._buckets)) or 'an allowed bucket'}",
            )
        if bucket == self._results and key.startswith(INPUTS):
            if is_own_input(key, tenant):
                return bucket, key
            raise PermanentError(
                "input_refused",
                f"the link {shown(link)} is not a file that this tenant has uploaded; upload it with its own API key",
            )
        # S3 itself takes dots and slashes as they are, but emulators and proxies resolve them.
        if is_reserved_key(key) or key.startswith("/") or {".", ".."} & set(key.split("/")):
            raise PermanentError("input_refused", f"the link {shown(link)} names a reserved key; use another key")
        if bucket == self._results and key != SAMPLE and not key.startswith(own := tenant_folder(tenant)):
            raise PermanentError(
                "input_refused",
                f"the link {shown(link)} is not one of this tenant's results, which begin with s3://{bucket}/{own}",
            )
        return bucket, key

    async def _read_object(self, bucket: str, key: str, link: str, budget: Budget, *, is_media: bool) -> bytes:
        most = self._limits.bytes_per_link
        answer = await self._s3.get_object(Bucket=bucket, Key=key)
        data = bytearray()
        async with answer["Body"] as body:
            if int(answer.get("ContentLength") or 0) > most:
                raise too_large(link, most)
            while chunk := await body.read(_CHUNK):
                data += chunk
                if len(data) > most:
                    raise too_large(link, most)
                budget.take(len(chunk), link)
                if is_media and len(data) >= SIGNATURE_SIZE:
                    check_type(data, link)
        if is_media:
            check_type(data, link)
        return bytes(data)


def _s3_failure(error: ClientError, link: str) -> TaskError:
    code = error_code(error)
    if is_absent(error) or code == "NoSuchBucket":
        return PermanentError("input_not_found", f"the link {shown(link)} names nothing; upload the file first")
    if code in _DENIED:
        return PermanentError(
            "input_forbidden", f"the agent may not read the link {shown(link)}, or it names nothing; check the key"
        )
    if code in _INVALID:
        return PermanentError("input_refused", f"S3 refuses the link {shown(link)} ({code}); check the key")
    return TransientError("input_unavailable", f"S3 failed for the link {shown(link)} ({code or 'no code'})")

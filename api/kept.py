"""Shows what a task asked for, and makes of it the request by which it is sent again."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field

from api.aws import UNAVAILABLE
from api.errors import ApiError, InvalidRequestError, UnavailableError
from api.requests import validated
from contract.kept_request import ELSEWHERE, KeptRequest, decode_request, unpack
from contract.objects import request_key
from contract.record import Record
from contract.store import S3Client, read_document

_SECONDS: Final = 30
"""For a request of 20 MiB."""

_log = structlog.get_logger(__name__)


class Retry(BaseModel):
    """The body of `POST /v1/tasks/{id}/retry`: what is to be different this time."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="RetryV1")

    metadata: Annotated[
        dict[str, Any],
        Field(description="Keys of the metadata that replace those of the task: runtime, tasktype, prefix, context …"),
    ] = {}
    content: Annotated[
        dict[str, Any] | None, Field(description="The runtime's request, in the place of the whole one before.")
    ] = None


class KeptRequests:
    """The requests of tasks.

    Args:
        s3: the client.
        bucket: where those lie that are too large for their records.
        keeps: whether this API keeps any.
    """

    def __init__(self, *, s3: S3Client, bucket: str, keeps: bool) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._keeps = keeps

    async def of(self, record: Record) -> KeptRequest:
        """Returns what a task's newest submission asked for.

        Raises:
            ApiError: 404, it is not kept.
            UnavailableError: S3 is out of reach.
        """
        packed = record.request
        if not packed:
            raise _not_kept(
                record,
                "it was not kept when it was submitted: by an older version, or by somebody else than this API"
                if self._keeps
                else "this API keeps none (KEEP_REQUESTS)",
            )
        try:
            document = await self._read(record) if packed == ELSEWHERE else unpack(packed)
            return await asyncio.to_thread(decode_request, document)
        except ValueError as error:
            _log.exception("request unreadable", task_id=record.id, tenant=record.tenant)
            raise _not_kept(record, "what was kept of it cannot be read") from error

    async def _read(self, record: Record) -> bytes:
        key = request_key(record.ref, record.current.submission)
        try:
            async with asyncio.timeout(_SECONDS):
                found = await read_document(self._s3, self._bucket, key)
        except UNAVAILABLE as error:
            _log.warning("cannot read the request", task_id=record.id, error=repr(error))
            raise UnavailableError("the task's request could not be read; try again") from error
        if found is None:
            raise _not_kept(record, "it has expired")
        return found[0]


def shown_metadata(record: Record, kept: KeptRequest) -> dict[str, Any]:
    """Returns the metadata of a task's newest submission as it was sent, without what may be secret in it."""
    metadata, webhook = _metadata(record, kept), record.current.webhook
    if (start_by := record.current.start_by) is not None:  # of this one; who retries it says another
        metadata["start_by"] = start_by.isoformat(timespec="milliseconds")
    return {**metadata, "webhook": {**metadata["webhook"], "url": webhook.shown}} if webhook is not None else metadata


def _metadata(record: Record, kept: KeptRequest | None) -> dict[str, Any]:
    current = record.current
    metadata: dict[str, Any] = {
        "id": record.id,
        "runtime": current.runtime,
        "tasktype": current.tasktype,
        "prefix": current.prefix,
        "context": current.context,
    }
    if current.webhook is not None:
        metadata["webhook"] = current.webhook.model_dump(mode="json")
    if current.tags:
        metadata["tags"] = current.tags
    if current.wants_environment:
        metadata["environment"] = current.wants_environment
    if kept is not None and kept.inputs:
        metadata["inputs"] = kept.inputs
    return metadata


def parse_retry(document: Any, task_id: str) -> Retry:
    """Reads the body of a retry.

    Raises:
        ApiError: 400, naming the field.
    """
    retry = validated(Retry, document)
    if retry.metadata.get("id", task_id) != task_id:
        raise InvalidRequestError(
            "metadata.id", "is the task's own; leave it out, or send a task with another id to POST /v1/tasks"
        )
    return retry


def document_of(record: Record, retry: Retry, kept: KeptRequest | None) -> dict[str, Any]:
    """Returns the body of `POST /v1/tasks` that sends a task again.

    Args:
        record: of the task.
        retry: what is to be different.
        kept: what it asked for; None: the retry says all of it.

    Raises:
        ApiError: 409, something of the content was a secret, and was not kept.
    """
    if retry.content is None and kept is not None and kept.left_out:
        raise ApiError(
            409,
            "request_incomplete",
            f"secrets are not kept, and the task had some at {', '.join(kept.left_out[:5])}; send the whole content "
            "with them as `content`",
            details={"id": record.id, "left_out": list(kept.left_out)},
        )
    content = retry.content if retry.content is not None else kept.content if kept is not None else {}
    # Rules speak of places in the content: those of another one are not kept.
    metadata = _metadata(record, kept if retry.content is None else None)
    return {"task": {"metadata": {**metadata, **retry.metadata}, "content": content}}


def _not_kept(record: Record, reason: str) -> ApiError:
    return ApiError(
        404,
        "request_not_kept",
        f"what the task asked for is not there: {reason}; send it anew with POST /v1/tasks",
        details={"id": record.id, "reason": reason},
    )

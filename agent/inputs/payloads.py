"""Fetches the content of a task that was too large for its message (the claim-check pattern)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from agent.aws import CALL_TIMEOUT, persist
from agent.documents import decode_json
from agent.errors import PermanentError
from contract.bounds import MESSAGE_BOUNDS, ExcessError, check_bounds
from contract.objects import payload_folder, split_s3_url
from contract.store import is_absent
from contract.task import TaskMessage

if TYPE_CHECKING:
    from contract.s3 import S3

MAX_PAYLOAD: Final = 64 * 1024 * 1024
"""Bytes; three times what the API lets in by default."""


class Payloads:
    """The payloads in the output bucket."""

    def __init__(self, s3: S3, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    def key_of(self, task: TaskMessage) -> str | None:
        """Returns the key of a task's payload; None when its content travels inline.

        Raises:
            PermanentError: the message names anything but a payload of this very task: it would be read, and deleted
                in the end, with this agent's permissions.
        """
        if task.content_ref is None:
            return None
        bucket, key = split_s3_url(task.content_ref)
        folder = payload_folder(task.metadata.ref)
        # Directly in it: the folder of a task may spell the folder of a tenant.
        if bucket != self._bucket or not key.startswith(folder) or "/" in key.removeprefix(folder):
            raise PermanentError("content_ref_refused", "content_ref must name the payload of this very task")
        return key

    async def content_of(self, task: TaskMessage) -> dict[str, Any]:
        """Returns a task's content, wherever it lies.

        Raises:
            PermanentError: the payload is refused, gone, too large, or no JSON object.
        """
        key = self.key_of(task)
        if key is None:
            return task.content or {}
        try:
            data = await persist(lambda: self._get(key), "s3:GetObject", seconds=3 * CALL_TIMEOUT)
        except ClientError as error:
            if is_absent(error):
                raise PermanentError(
                    "payload_missing", "the task's content is no longer stored; send it again"
                ) from error
            raise
        try:
            # Others than our API may have put it there.
            await asyncio.to_thread(check_bounds, data, **MESSAGE_BOUNDS)
            content = await decode_json(data)
        except ExcessError as error:
            raise PermanentError("payload_too_large", f"the task's stored content is refused: {error}") from error
        except ValueError as error:
            raise PermanentError("payload_invalid", f"the task's stored content is not JSON: {error}") from error
        if not isinstance(content, dict):
            raise PermanentError("payload_invalid", "the task's stored content is not a JSON object")
        return content

    async def _get(self, key: str) -> bytes:
        answer = await self._s3.get_object(Bucket=self._bucket, Key=key)
        async with answer["Body"] as body:
            if answer["ContentLength"] > MAX_PAYLOAD:
                raise PermanentError(
                    "payload_too_large", f"the task's content is larger than {MAX_PAYLOAD // 1024 // 1024} MiB"
                )
            return bytes(await body.read())

"""A job's outputs: its images as v2's clients see them, with the server's own names and the nodes that made them.

The record knows where they lie. What else v2 tells of them lies beside them: sizes and names in the objects' headers,
nodes in the runtime's full answer. So a job that nobody asks for by v2 costs nothing more.
"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any, Final
from urllib.parse import quote, unquote

import orjson
import structlog
from botocore.exceptions import ClientError

from api.aws import AWS_ERRORS, S3
from api.comfy_v2.assets import unknown_asset
from api.errors import ApiError, UnavailableError
from api.tasks import Tasks
from contract.identifiers import TaskRef
from contract.links import Links
from contract.objects import split_s3_url
from contract.record import Record, Submission
from contract.store import is_absent, read_document
from contract.task import TaskType

_AT_ONCE: Final = 16
_SECONDS: Final = 20
_NAME_COMPARED: Final = 100
"""Characters from a name's end: as many the agent keeps of it."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """One output, by its id."""

    record: Record
    submission: Submission
    address: str
    """`s3://…`"""


class Outputs:
    """The outputs of all jobs.

    Args:
        s3: the client.
        bucket: the output bucket.
        links: makes the links.
        tasks: reads the records.
        link_seconds: how long a link works.
    """

    def __init__(self, *, s3: S3, bucket: str, links: Links, tasks: Tasks, link_seconds: int) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._links = links
        self._tasks = tasks
        self._link_seconds = link_seconds

    async def of(self, record: Record) -> list[dict[str, Any]]:
        """Returns the outputs of a task's newest submission, without those that somebody has deleted.

        Raises:
            UnavailableError: S3 is out of reach.
        """
        current = record.current
        if not current.image_url:
            return []
        try:
            async with asyncio.timeout(_SECONDS):
                room = asyncio.Semaphore(_AT_ONCE)
                heads = await asyncio.gather(*(self._head(address, room) for address in current.image_url))
                answer = await self._answer(current)
        except AWS_ERRORS as error:
            _log.warning("cannot look at the outputs", task_id=record.id, error=repr(error))
            raise UnavailableError("the job's outputs could not be looked at; try again") from error
        there = [(address, *head) for address, head in zip(current.image_url, heads, strict=True) if head is not None]
        links = await self._links.links([address for address, _, _ in there])
        expires = datetime.now(UTC) + timedelta(seconds=self._link_seconds)
        nodes = nodes_of(answer, [name for _, _, name in there])
        return [
            {
                "node_id": node,
                "name": name,
                "type": kind_of(address),
                "content_type": content_type_of(address),
                "size_bytes": size,
                "id": output_id(address),
                "hash": None,
                "url": link,
                "url_expires_at": expires,
                "job_id": record.id,
            }
            for (address, size, name), link, node in zip(there, links, nodes, strict=True)
        ]

    async def find(self, tenant: str, wanted: str) -> Found | None:
        """Returns an output of a tenant by its id; None: there is none."""
        name = unquote(wanted)
        task_id = name.rsplit("-", 2)[0]
        if task_id == name:
            return None
        try:
            record = await self._tasks.read(TaskRef(task_id, tenant))
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        for submission in record.submissions().values():
            for address in submission.image_url:
                if address.rpartition("/")[2] == name:
                    return Found(record, submission, address)
        return None

    async def link(self, found: Found) -> str:
        """Returns a link to an output."""
        (link,) = await self._links.links([found.address])
        return link

    async def view(self, found: Found) -> dict[str, Any]:
        """Returns an output as an asset.

        Raises:
            ApiError: 404, it has gone.
            UnavailableError: S3 is out of reach.
        """
        only = found.submission.model_copy(update={"image_url": [found.address], "output_url": ""})
        outputs = await self.of(found.record.model_copy(update={"current": only}))
        if not outputs:
            raise unknown_asset(output_id(found.address))
        output = outputs[0]
        shared = ("id", "hash", "size_bytes", "content_type", "url", "url_expires_at", "job_id")
        made = found.submission.finished_at or found.submission.submitted_at
        return {**{name: output[name] for name in shared}, "file_path": output["name"], "created_at": made}

    async def _head(self, address: str, room: asyncio.Semaphore) -> tuple[int, str] | None:
        """Returns an object's bytes, and the name that the server gave it; None: somebody has deleted it."""
        key = split_s3_url(address)[1]
        try:
            async with room:
                head = await self._s3.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if is_absent(error):
                return None
            raise
        return int(head["ContentLength"]), name_of(str(head.get("ContentDisposition", ""))) or key.rpartition("/")[2]

    async def _answer(self, submission: Submission) -> Any:
        """Returns the runtime's full answer where it may tell of nodes."""
        if submission.tasktype is not TaskType.PIPELINE or not submission.output_url:
            return None
        found = await read_document(self._s3, self._bucket, split_s3_url(submission.output_url)[1])
        try:
            return await asyncio.to_thread(orjson.loads, found[0]) if found is not None else None
        except orjson.JSONDecodeError:
            return None


def output_id(address: str) -> str:
    """Returns the id of an output: its own file name, which holds its task's id, as a path can have it."""
    return quote(address.rpartition("/")[2], safe="")


def name_of(disposition: str) -> str:
    """Returns the file name of a Content-Disposition (RFC 6266); empty: it has none."""
    message = Message()
    message["content-disposition"] = disposition
    return message.get_filename() or ""


def nodes_of(answer: Any, names: Sequence[str]) -> list[str]:
    """Returns the node that made each of some files, by ComfyUI's own account; empty: it does not tell.

    Args:
        answer: of `/history`: prompts by their ids.
        names: of the files, as the server has them.
    """
    unused = list(_named(answer))
    found: list[str] = []
    for name in names:
        at = next((item for item in unused if item[1][-_NAME_COMPARED:] == name[-_NAME_COMPARED:]), None)
        if at is not None:
            unused.remove(at)
        found.append(at[0] if at is not None else "")
    return found


def _named(answer: Any) -> list[tuple[str, str]]:
    """Returns node and file name of each file that an answer names, in their order, each file once."""
    found: dict[tuple[str, str, str], None] = {}
    for entry in answer.values() if isinstance(answer, Mapping) else ():
        outputs = entry.get("outputs") if isinstance(entry, dict) else None
        for node, output in outputs.items() if isinstance(outputs, dict) else ():
            for items in output.values() if isinstance(output, dict) else ():
                for item in items if isinstance(items, list) else ():
                    if isinstance(item, dict) and isinstance(item.get("filename"), str):
                        found.setdefault((str(node), item["filename"], str(item.get("subfolder"))))
    return [(node, name) for node, name, _ in found]


def content_type_of(address: str) -> str:
    """Returns the media type of an output; its ending follows from its bytes."""
    return mimetypes.guess_type(address.rpartition("/")[2])[0] or "application/octet-stream"


def kind_of(address: str) -> str:
    """Returns the kind of an output: `image`, `video`, `audio`, `text`, `latent` or `file`."""
    if address.endswith(".latent"):
        return "latent"
    media_type = content_type_of(address)
    kind = media_type.partition("/")[0]
    if media_type == "application/json":
        return "text"
    return kind if kind in {"image", "video", "audio", "text"} else "file"

"""What each call sends, and how its answer is read: shared by both clients, without any I/O."""

from __future__ import annotations

import io
import json
import mimetypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlencode

import httpx

from darkroom.errors import RefusedError
from darkroom.events import Event
from darkroom.task import Task

PATIENCE: Final = 60.0
"""Seconds for which a lost event stream is tried again."""
PAUSE: Final = 0.5
"""Seconds before it is."""

IN_PARTS_ABOVE: Final = 8 * 1024 * 1024
"""Bytes of a file that goes to S3 part by part: the gateway on AWS takes no larger bodies than 10 MB."""
PART_WAITS: Final = (0.5, 1.0, 2.0, 0.0)
"""Seconds after each try to send a part."""
PART_TIMEOUT: Final = httpx.Timeout(120, connect=5)
Progress = Callable[[int, int], None]
"""Is told how many bytes of how many have been sent."""

STREAM_TIMEOUT: Final = httpx.Timeout(45, connect=5)
"""The API sends a comment every 15 s at the latest."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    method: str
    path: str
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30
    file: Path | None = None
    """Its bytes are sent, instead of `content`."""


def options(url: str, key: str | None) -> dict[str, Any]:
    """Returns how httpx's clients are made.

    Raises:
        RefusedError: the key cannot be sent.
    """
    if key is not None and not key.isascii():
        raise RefusedError("the API key holds characters that a header cannot carry: it must be ASCII")
    return {
        "base_url": url,
        "headers": {"x-api-key": key} if key else {},
        "timeout": httpx.Timeout(30, connect=5),
        # No proxy from the environment: it could not reach this machine's own address.
        "trust_env": False,
        # Reading the certificates takes longer than most calls; no redirect is followed to where they count.
        "verify": not url.startswith("http:"),
    }


def post(path: str, document: Any, *, headers: Mapping[str, str] | None = None, timeout: float = 30) -> Call:
    """Returns the call that posts a document."""
    content = json.dumps(document).encode()
    return Call("POST", path, content, {"content-type": "application/json", **(headers or {})}, timeout)


def submission(
    content: Mapping[str, Any],
    *,
    runtime: str,
    tasktype: str,
    task_id: str | None,
    prefix: str,
    context: Any,
    metadata: Mapping[str, Any] | None,
    idempotency_key: str | None,
    wait: float,
) -> Call:
    """Returns the call that submits a task."""
    about = {"runtime": runtime, "tasktype": tasktype, "prefix": prefix, "context": context, **(metadata or {})}
    if task_id is not None:
        about["id"] = task_id
    document = {"task": {"metadata": about, "content": dict(content)}}
    headers = {"idempotency-key": idempotency_key} if idempotency_key is not None else {}
    path = f"/v1/tasks?wait={wait:g}" if wait else "/v1/tasks"
    return post(path, document, headers=headers, timeout=30 + wait)


def of_task(method: str, task: Task | str, below: str = "") -> Call:
    """Returns a call about one task."""
    name = task.id if isinstance(task, Task) else task
    return Call(method, f"/v1/tasks/{quote(name, safe='')}{below}")


def page(
    *,
    status: Sequence[str] | str,
    runtime: str | None,
    tasktype: str | None,
    since: datetime | str | None,
    until: datetime | str | None,
    id_prefix: str | None,
    limit: int,
    cursor: str | None,
) -> Call:
    """Returns the call for one page of tasks."""
    wanted = {
        "status": status if isinstance(status, str) else ",".join(status),
        "runtime": runtime,
        "tasktype": tasktype,
        "since": since.isoformat() if isinstance(since, datetime) else since,
        "until": until.isoformat() if isinstance(until, datetime) else until,
        "id_prefix": id_prefix,
        "limit": str(limit),
        "cursor": cursor,
    }
    return Call("GET", "/v1/tasks?" + urlencode({key: value for key, value in wanted.items() if value}))


def usage(by: Sequence[str] | str, since: datetime | str | None, until: datetime | str | None) -> Call:
    """Returns the call that sums up what tasks have cost."""
    wanted = {
        "by": by if isinstance(by, str) else ",".join(by),
        "from": since.isoformat() if isinstance(since, datetime) else since,
        "to": until.isoformat() if isinstance(until, datetime) else until,
    }
    return Call("GET", "/v1/usage?" + urlencode({key: value for key, value in wanted.items() if value}))


def retry(task: Task | str, content: Mapping[str, Any] | None, metadata: Mapping[str, Any] | None) -> Call:
    """Returns the call that runs a task again."""
    change = {key: dict(value) for key, value in (("content", content), ("metadata", metadata)) if value is not None}
    call = of_task("POST", task, "/retry")
    return post(call.path, change) if change else call


@dataclass(frozen=True, slots=True)
class Source:
    """An input file that is to be stored."""

    path: Path | None
    data: bytes
    """Where there is no path."""
    name: str
    kind: str
    size: int

    def open(self) -> IO[bytes]:
        """Opens its bytes.

        Raises:
            OSError: they cannot be read.
        """
        return io.BytesIO(self.data) if self.path is None else self.path.open("rb")


def no_progress(sent: int, of: int) -> None:
    """Tells nobody."""


def source(file: Path | str | bytes, name: str) -> Source:
    """Returns what is known of an input file.

    Raises:
        RefusedError: it is not there.
    """
    path = None if isinstance(file, bytes) else Path(file)
    name = name or (path.name if path else "")
    kind = mimetypes.guess_type(name)[0] or ""
    if not kind.startswith(("image/", "video/", "audio/")):
        kind = "application/octet-stream"
    try:
        size = len(file) if isinstance(file, bytes) else Path(file).stat().st_size
    except OSError as error:
        raise unreadable(path, error) from error
    return Source(path, file if isinstance(file, bytes) else b"", name, kind, size)


def upload(file: Source) -> Call:
    """Returns the call that stores an input file whole."""
    return Call(
        "POST",
        f"/v1/inputs?name={quote(file.name)}",
        file.data if file.path is None else None,
        {"content-type": file.kind, "content-length": str(file.size)},
        30 + file.size / 1_000_000,
        file.path,
    )


def begin_upload(file: Source) -> Call:
    """Returns the call that begins to store an input file in parts."""
    wanted = {"bytes": file.size, "content_type": file.kind, **({"name": file.name} if file.name else {})}
    return post("/v1/inputs/uploads", wanted)


def on_upload(method: str, upload: str, below: str = "") -> Call:
    """Returns a call about an upload in parts."""
    return Call(method, f"/v1/inputs/uploads/{quote(upload, safe='')}{below}", timeout=60)


def part_arrived(answer: httpx.Response, number: int) -> bool:
    """Tells whether S3 has taken a part; False: it may be sent again.

    Raises:
        RefusedError: it never will.
    """
    if answer.is_success:
        return True
    # A link that has ended is 403: another one is asked for.
    if answer.status_code in {403, 408, 429} or answer.status_code >= 500:
        return False
    raise RefusedError(f"S3 refuses part {number}: status {answer.status_code}", status=answer.status_code)


def changing(file: Source) -> RefusedError:
    """Returns the error for a file that has another size than it had."""
    return RefusedError(f"{file.path} changes while it is sent; try again when it is whole")


def convert(runtime: str, workflow: bytes | Mapping[str, Any]) -> Call:
    """Returns the call that makes a task's content of a workflow in any form."""
    path = f"/v1/runtimes/{quote(runtime, safe='')}/workflow"
    if isinstance(workflow, bytes):
        return Call("POST", path, workflow, {"content-type": "application/octet-stream"})
    return post(path, workflow)


def agents(runtime: str) -> Call:
    """Returns the call that lists the agents of a runtime."""
    return Call("GET", f"/v1/runtimes/{quote(runtime, safe='')}/agents")


def environment(runtime: str, hash_: str | None, against: str | None) -> Call:
    """Returns the call that asks what a runtime's server is made of."""
    path = f"/v1/runtimes/{quote(runtime, safe='')}/environment" + (f"/{quote(hash_, safe='')}" if hash_ else "")
    return Call("GET", path + (f"?against={quote(against)}" if against else ""))


def unreadable(file: Path | None, error: OSError) -> RefusedError:
    """Returns the error for a file that cannot be read."""
    return RefusedError(f"{file} cannot be read: {error.strerror or error}")


def dead_letters(runtime: str | None) -> Call:
    """Returns the call that lists dead letters."""
    return Call("GET", "/v1/dead-letters" + (f"?runtime={quote(runtime)}" if runtime else ""))


def on_letters(what: str, runtime: str, message_ids: Sequence[str]) -> Call:
    """Returns the call that sends dead letters back (`redrive`) or deletes them (`delete`)."""
    path = "/v1/dead-letters/redrive" if what == "redrive" else "/v1/dead-letters"
    call = post(path, {"runtime": runtime, "message_ids": list(message_ids)}, timeout=60)
    return call if what == "redrive" else Call("DELETE", call.path, call.content, call.headers, call.timeout)


def stream(task: Task | str | None, last: str) -> Call:
    """Returns the call that follows one task, or all."""
    path = "/v1/events" if task is None else of_task("GET", task, "/events").path
    return Call("GET", path, None, {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {}))


def task_in(event: Event) -> Task | None:
    """Returns the task that an event is about; None: it is about none, such as `ready`."""
    document = json.loads(event.data)
    return Task.from_view(document) if "status" in document else None

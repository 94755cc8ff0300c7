"""The client whose calls block."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Self

import httpx

from darkroom import calls
from darkroom.errors import DarkroomError, NotReachableError, RefusedError, checked, unreachable
from darkroom.events import parse_events
from darkroom.task import Result, Task


class Darkroom:
    """One API. Use it as a context manager, or `close` it.

    Args:
        url: such as http://127.0.0.1:8000.
        key: its `x-api-key`, if it asks for one.

    Each call raises NotReachableError (nothing answers, or not now) or RefusedError (the API's own sentence).

    Raises:
        RefusedError: the URL is none, or no key can look so.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", *, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        try:
            self._http = httpx.Client(**calls.options(self.url, key))
        except httpx.InvalidURL as error:
            raise RefusedError(f"the API's URL {url!r} is not one: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def submit(
        self,
        content: Mapping[str, Any],
        *,
        runtime: str,
        tasktype: str = "text-to-image",
        task_id: str | None = None,
        prefix: str = "output",
        context: Any = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        wait: float = 0,
    ) -> Task:
        """Submits a task.

        Args:
            content: the runtime's own request.
            runtime: whose queue.
            tasktype: such as text-to-image, image-to-image, pipeline (a ComfyUI workflow).
            task_id: None: the API makes one.
            prefix: the folder of the results in the bucket.
            context: any JSON; it comes back in the callback.
            metadata: more of the task's metadata, such as `inputs`.
            idempotency_key: the same one makes it happen once, however often it is sent.
            wait: seconds to wait for its end, 60 at most; it may not have come by then.
        """
        call = calls.submission(
            content,
            runtime=runtime,
            tasktype=tasktype,
            task_id=task_id,
            prefix=prefix,
            context=context,
            metadata=metadata,
            idempotency_key=idempotency_key,
            wait=wait,
        )
        return Task.from_view(self._call(call))

    def post(self, route: str, document: Any) -> Any:
        """Posts a request in any form that the API takes; returns the answer."""
        return self._call(calls.post(route, document))

    def get(self, task: Task | str) -> Task:
        """Returns how a task stands."""
        return Task.from_view(self._call(calls.of_task("GET", task)))

    def wait(self, task: Task | str, *, seconds: float | None = None) -> Task:
        """Returns a task once it has ended, however it has.

        Raises:
            TimeoutError: it has not in so many seconds.
        """
        end = None if seconds is None else time.monotonic() + seconds
        for state in self.events(task, seconds=seconds):
            if state.ended:
                return state
            if end is not None and time.monotonic() > end:
                break
        raise TimeoutError(f"{task.id if isinstance(task, Task) else task} has not ended in {seconds:g} s")

    def events(self, task: Task | str | None = None, *, seconds: float | None = None) -> Iterator[Task]:
        """Yields a task each time that it changes, the last time when it has ended; without one, all, for ever.

        A lost connection is made again, for a minute.

        Args:
            task: which one; None: all of the key's own, beginning with those that are unfinished.
            seconds: after which no more is waited for; None: for ever.
        """
        last, lost_at = "", None
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            try:
                for identifier, state in self._stream(task, last, end):
                    last, lost_at = identifier, None
                    if state is not None:
                        yield state
                        if task is not None and state.ended:
                            return
            except (httpx.TransportError, NotReachableError) as error:
                if end is not None and time.monotonic() >= end:
                    return
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > calls.PATIENCE or not last:
                    raise NotReachableError(f"the API at {self.url} does not answer: {error}") from error
            time.sleep(calls.PAUSE)

    def _stream(self, task: Task | str | None, last: str, end: float | None) -> Iterator[tuple[str, Task | None]]:
        call = calls.stream(task, last)
        timeout = calls.STREAM_TIMEOUT
        if end is not None:
            timeout = httpx.Timeout(min(45, max(0.1, end - time.monotonic())), connect=5)
        with self._http.stream("GET", call.path, headers=dict(call.headers), timeout=timeout) as answer:
            if answer.status_code != 200:
                answer.read()
                checked(answer, self.url)
                return
            for event in parse_events(answer.iter_lines()):
                yield event.identifier, calls.task_in(event)

    def list(
        self,
        *,
        status: Sequence[str] | str = (),
        runtime: str | None = None,
        tasktype: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        id_prefix: str | None = None,
        limit: int = 50,
    ) -> Iterator[Task]:
        """Yields tasks, the newest first, page after page as they are taken.

        Args:
            status: one or several of them; empty: any.
            runtime: only this one's.
            tasktype: only of this type.
            since: submitted not before.
            until: submitted before.
            id_prefix: whose id begins so.
            limit: tasks of a page.
        """
        cursor: str | None = None
        while True:
            call = calls.page(
                status=status,
                runtime=runtime,
                tasktype=tasktype,
                since=since,
                until=until,
                id_prefix=id_prefix,
                limit=limit,
                cursor=cursor,
            )
            answer = self._call(call)
            yield from map(Task.from_view, answer["tasks"])
            cursor = answer["next"]
            if not cursor:
                return

    def retry(
        self,
        task: Task | str,
        *,
        content: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Task:
        """Submits a task that has ended again, as it was or with another content or metadata."""
        return Task.from_view(self._call(calls.retry(task, content, metadata)))

    def cancel(self, task: Task | str) -> Task:
        """Cancels a task: one that waits never runs, one that runs is interrupted."""
        return Task.from_view(self._call(calls.of_task("DELETE", task)))

    def upload(self, file: Path | str | bytes, *, name: str = "", progress: calls.Progress = calls.no_progress) -> str:
        """Stores an input file, a large one in parts; returns the s3:// address by which tasks name it.

        Args:
            file: its path, or its bytes.
            name: of which the ending tells what it is; empty: the path's.
            progress: is told how many bytes of how many have been sent.
        """
        source = calls.source(file, name)
        if source.size <= calls.IN_PARTS_ABOVE:
            stored = self._call(calls.upload(source))
            progress(source.size, source.size)
            return str(stored["s3"])
        begun = self._call(calls.begin_upload(source))
        try:
            self._send_parts(source, begun, progress)
            return str(self._call(calls.on_upload("POST", begun["upload"], "/complete"))["s3"])
        except BaseException:
            with suppress(DarkroomError):
                self._call(calls.on_upload("DELETE", begun["upload"]))
            raise

    def _send_parts(self, source: calls.Source, begun: Mapping[str, Any], progress: calls.Progress) -> None:
        sent = 0
        try:
            with source.open() as data, httpx.Client(timeout=calls.PART_TIMEOUT, trust_env=False) as s3:
                for number in range(1, begun["parts"] + 1):
                    piece = data.read(begun["part_bytes"])
                    self._send_part(s3, source, begun["upload"], number, piece)
                    sent += len(piece)
                    progress(sent, source.size)
        except OSError as error:
            raise calls.unreadable(source.path, error) from error

    def _send_part(self, s3: httpx.Client, source: calls.Source, upload: str, number: int, piece: bytes) -> None:
        for wait in calls.PART_WAITS:
            place = self._call(calls.on_upload("GET", upload, f"/parts/{number}"))
            if len(piece) != place["bytes"]:
                raise calls.changing(source)
            # Not with the API's key: the link carries its own signature, and leads elsewhere.
            with suppress(httpx.TransportError):
                if calls.part_arrived(s3.put(place["url"], content=piece), number):
                    return
            time.sleep(wait)
        raise NotReachableError(f"part {number} cannot be sent: S3 does not answer")

    def files(self, task: Task, folder: Path | str = "images") -> Sequence[Path]:
        """Saves the images of a task in a folder, which is made; returns their paths."""
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            return [self._save(image, place) for image in task.images]
        except OSError as error:
            raise RefusedError(f"cannot save to {place}: {error.strerror or error}") from error
        except httpx.TransportError as error:
            raise NotReachableError(f"the images cannot be fetched: {error}") from error

    def _save(self, image: Result, folder: Path) -> Path:
        file, draft = folder / image.name, folder / f".{image.name}.part"
        # Not with the API's key: the link carries its own signature, and leads elsewhere.
        with httpx.stream("GET", image.url, timeout=60, trust_env=False) as answer:
            if answer.status_code != 200:
                raise RefusedError(f"{image.s3} cannot be fetched: status {answer.status_code}")
            with draft.open("wb") as out:
                for chunk in answer.iter_bytes():
                    out.write(chunk)
        draft.replace(file)
        return file

    def runtimes(self) -> Sequence[dict[str, Any]]:
        """Returns the runtimes with the depth of their queues."""
        return list(self._call(calls.Call("GET", "/v1/runtimes"))["runtimes"])

    def agents(self, runtime: str) -> dict[str, Any]:
        """Returns the `agents` of a runtime as they told of themselves last, and how their GPUs spent the last hour."""
        return dict(self._call(calls.agents(runtime)))

    def environment(self, runtime: str, hash: str | None = None, *, against: str | None = None) -> dict[str, Any]:  # noqa: A002 - its name
        """Returns what a runtime's server is made of, as it tells itself: docs/environments.md.

        Args:
            runtime: whose.
            hash: of the environment, as a task's view has it; None: the newest.
            against: the hash of another one; then `difference` says what has changed since that.
        """
        return dict(self._call(calls.environment(runtime, hash, against)))

    def usage(
        self,
        *,
        by: Sequence[str] | str = (),
        since: datetime | str | None = None,
        until: datetime | str | None = None,
    ) -> dict[str, Any]:
        """Returns what the tasks have cost that ended in a span: `rows`, the dearest first, and their `total`.

        Args:
            by: one or several of key, runtime, tag, tag:NAME; empty: the total alone.
            since: ended not before; None: the day so far (UTC).
            until: ended before; None: now.
        """
        return dict(self._call(calls.usage(by, since, until)))

    def convert(self, workflow: bytes | Mapping[str, Any], *, runtime: str) -> dict[str, Any]:
        """Makes a task's content of a ComfyUI workflow in any form.

        Args:
            workflow: a file's bytes (JSON, or a picture, video or sound that ComfyUI has saved), or a document.
            runtime: of type comfyui, whose nodes count.

        Returns:
            `content`; `fields`, which can be set in it; `warnings`, what the runtime will refuse.
        """
        return dict(self._call(calls.convert(runtime, workflow)))

    def dead_letters(self, runtime: str | None = None) -> Sequence[dict[str, Any]]:
        """Returns the dead letters with their reasons, the newest first."""
        return list(self._call(calls.dead_letters(runtime))["dead_letters"])

    def redrive(self, runtime: str, message_ids: Sequence[str]) -> dict[str, Any]:
        """Sends dead letters back; returns what became of each: `sent_back`, `stayed`, `not_found`."""
        return dict(self._call(calls.on_letters("redrive", runtime, message_ids)))

    def delete_dead_letters(self, runtime: str, message_ids: Sequence[str]) -> dict[str, Any]:
        """Deletes dead letters; returns what became of each: `deleted`, `stayed`, `not_found`."""
        return dict(self._call(calls.on_letters("delete", runtime, message_ids)))

    def _call(self, call: calls.Call) -> Any:
        if call.file is None:
            return self._send(call, call.content)
        try:
            with call.file.open("rb") as data:
                return self._send(call, data)
        except OSError as error:
            raise calls.unreadable(call.file, error) from error

    def _send(self, call: calls.Call, content: bytes | IO[bytes] | None) -> Any:
        timeout = httpx.Timeout(call.timeout, connect=5)
        try:
            answer = self._http.request(
                call.method, call.path, content=content, headers=dict(call.headers), timeout=timeout
            )
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error
        return checked(answer, self.url)

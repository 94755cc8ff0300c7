"""Runs graphs on InvokeAI: puts them into its queue, asks what becomes of them, fetches and then deletes the images."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
import structlog

from agent.documents import encode_json
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.inputs import InputSource
from agent.media import content_type_of
from agent.runtimes.allowance import TOO_LARGE, Allowance
from agent.runtimes.answers import Answers
from agent.runtimes.base import Answer, Prepared, Upload
from agent.runtimes.downloads import Downloads, RemoteFile, download, nothing_fetched
from agent.runtimes.http import TRANSFER_TIMEOUT, Server, look_at
from agent.runtimes.invokeai.environment import read_environment
from agent.runtimes.invokeai.failures import TITLE, failure_of, failure_of_item
from agent.runtimes.invokeai.graph import graph_links, image_names, read_graph, with_names, with_uploads
from agent.runtimes.invokeai.session import last_images, made_images, session_id
from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.task import TaskType

DESTINATION: Final = "darkroom-agent"
"""What the queue says of every agent's items: by it a new agent finds what one before it has left."""

POLLS: Final = (0.03, 0.1)
"""Seconds between two looks at a run, the first and the longest: the GPU waits for the last one."""

CANCEL_GRACE: Final = 10.0
"""Seconds that a cancelled run may still take: it stops between nodes and sampler steps only."""

CANCEL_INTERVAL: Final = 0.25

CLEANING_PAUSES: Final = (0.0, 0.5, 2.0)
"""Seconds before each try to delete what a run has left on the server."""

LEFT_INTERVAL: Final = 1.0
"""Seconds between two looks at a run that did not stop when it was cancelled."""

_OPEN: Final = ("pending", "in_progress", "waiting")
"""What an item is called that has not ended. One waits for the saved workflow that it calls, an item of its batch."""

_TRIES: Final = 3
_QUEUE: Final = "/api/v1/queue/default"
_IMAGES: Final = "/api/v1/images"

_ANSWERS: Final = Answers(TITLE, failure_of)

log = structlog.get_logger(__name__)


class InvokeAi:
    """InvokeAI 6, over HTTP.

    The server keeps every image it makes. A pod's disk would fill up with them, so each run's images, its inputs and
    its item in the queue's history are deleted once they are fetched. Images of others are left alone.

    Args:
        session: see `agent.runtimes.http.open_session`.
        base_url: where the server listens.
        inputs: fetches links.
        most_bytes: of one answer.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, inputs: InputSource, *, most_bytes: int) -> None:
        self._server = Server(session, base_url, title=TITLE, ready_path="/api/v1/app/version", most_bytes=most_bytes)
        self._inputs = inputs
        self._met = False
        self._running: set[_Run] = set()
        self._left: set[_Run] = set()
        """What was given up and may be there still."""
        self._cleaning: set[asyncio.Task[None]] = set()

    @property
    def left_running(self) -> bool:
        """See `Runtime`."""
        return bool(self._left)

    async def wait_until_ready(self) -> None:
        """See `Runtime`. What waits in the queue of a server that starts again would run, unless it is taken out."""
        await self._server.wait_until_ready()
        if not self._met and not self._running:
            self._met = True
            await self._end_orphans()
        while self._left:
            left = next(iter(self._left))
            try:
                await left.settle()
                if await self._stop_once(left):
                    await asyncio.sleep(LEFT_INTERVAL)
                else:
                    self._left.discard(left)
                    self._clean_up(left)
            except TaskError:
                await asyncio.sleep(LEFT_INTERVAL)
                await self._server.wait_until_ready()

    async def tell_environment(self) -> Lock:
        """See `agent.environment.TellsEnvironment`."""
        return await read_environment(self._server)

    async def is_alive(self) -> bool:
        """See `Runtime`."""
        return await self._server.is_alive()

    async def prepare(
        self, task_type: TaskType, content: dict[str, Any], *, tenant: str = "", rules: InputRules = NO_RULES
    ) -> Prepared:
        """See `Runtime`. Links in the place of images' names become names of files to upload."""
        batch = read_graph(content)
        uploads = list[Upload]()
        if links := graph_links(batch):
            fetched = await self._inputs.fetch_all(links, tenant=tenant)
            batch, uploads = await asyncio.to_thread(with_uploads, batch, fetched)
        return Prepared(task_type, batch, uploads=uploads)

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer:
        """See `Runtime`. The server tells nothing of a run's progress but over Socket.IO: none is reported.

        A node that ran before comes from the server's cache, with the image of that time. Where the run that made it
        has deleted it meanwhile, the graph runs once more.
        """
        if self.left_running:
            raise RuntimeUnavailableError("runtime_busy", f"{TITLE} is still at a run that was given up")
        for _ in range(_TRIES):
            run = _Run(self._server)
            self._running.add(run)
            try:
                return await self._run_once(run, prepared, run_id)
            except _GoneError:
                log.info("an image from the cache was deleted meanwhile; the graph runs once more", run_id=run_id)
            except (asyncio.CancelledError, TaskError) as error:
                await self._give_up(run, error)
                raise
            finally:
                self._running.discard(run)
                if run not in self._left:
                    self._clean_up(run)
        raise TransientError(
            "outputs_deleted", f"somebody deletes the images that {TITLE} makes before they are fetched"
        )

    async def resident_bytes(self) -> int | None:
        """See `Runtime`. The server does not tell."""
        return None

    async def restart(self) -> bool:
        """See `Runtime`. The server has no route for it."""
        return False

    async def close(self) -> None:
        """See `Runtime`. The session belongs to whoever opened it."""
        if self._cleaning:
            _, late = await asyncio.wait(self._cleaning, timeout=CANCEL_GRACE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run_once(self, run: _Run, prepared: Prepared, run_id: str) -> Answer:
        """Runs a graph to its end.

        Raises:
            _GoneError: an image that came from the server's cache was not there any more.
        """
        for upload in prepared.uploads:
            run.uploaded[upload.name] = await self._upload(upload)
        batch = with_names(prepared.content, run.uploaded)
        log.debug("submitting", run_id=run_id, batch_id=run.batch_id)
        body = {**batch, "batch_id": run.batch_id, "origin": run_id, "destination": DESTINATION, "runs": 1}
        if self._cleaning:
            # What is being deleted would be met in the server's cache.
            await asyncio.wait(self._cleaning)
        await run.send(await encode_json({"batch": body}))
        status = await self._ended(run)
        if status == "canceled":
            raise TransientError("interrupted", f"somebody cancelled the run on {TITLE}")
        async with self._server.allowances.one() as allowance:
            raw, run.item = await self._item(run, allowance)
            found = await self._fetched(run, status, image_names(batch), allowance)
        if 404 in found.refused.values():
            raise _GoneError
        if not found.outputs:
            raise nothing_fetched(found, TITLE) or PermanentError(
                "no_outputs", "the graph ended without an image; end it with a node that makes one"
            )
        return Answer(found.outputs, raw, found.warnings)

    async def _fetched(self, run: _Run, status: str, named: Sequence[str], allowance: Allowance) -> Downloads:
        """Fetches the images of a run that has ended so.

        Raises:
            _GoneError: as `_run_once`.
            TaskError: the run has failed.
        """
        if status == "failed":
            if run.item.get("error_type") == "ImageRecordNotFoundException" and await self._all_there(named):
                raise _GoneError
            raise failure_of_item(run.item)
        names = await self._outputs_of(run.item, named)
        files = [RemoteFile(name, f"{_IMAGES}/i/{name}/full") for name in names]
        return await download(self._server, files, allowance)

    async def _ended(self, run: _Run) -> str:
        """Returns how the run ended: `completed`, `failed` or `canceled`.

        The batch is asked for, and not the item: that costs the server one count, and no reading of the whole graph.
        """
        pause, longest = POLLS
        while True:
            await asyncio.sleep(pause)
            pause = min(longest, pause * 1.5)
            counts = await self._ask("GET", f"{_QUEUE}/b/{run.batch_id}/status")
            if not counts.get("total"):
                raise _taken_out()
            if any(counts.get(status) for status in _OPEN):
                continue
            for status in ("failed", "canceled", "completed"):
                if counts.get(status):
                    return status

    async def _item(self, run: _Run, allowance: Allowance | None = None) -> tuple[bytes, dict[str, Any]]:
        """Returns the run's item of the queue, as received and decoded; complete once the server is done with it."""
        reply = await self._server.request(
            "GET", f"{_QUEUE}/i/{run.item_id}", timeout=TRANSFER_TIMEOUT, allowance=allowance
        )
        if reply.status == 404:
            raise _taken_out()
        return reply.body, await _ANSWERS.mapping(reply, "the queue's item")

    async def _outputs_of(self, item: dict[str, Any], named: Sequence[str]) -> list[str]:
        """Returns the images that are the run's results: those that the server would show in its gallery.

        Those are the images that no node marks as intermediate; where all are, those of the last nodes. An image that
        the graph itself names is an input, whatever passes it on.

        Raises:
            _GoneError: one is not there any more.
        """
        made = [name for name in made_images(item) if name not in named]
        records = await self._records(made)
        if len(records) < len(made):
            raise _GoneError
        shown = [record["image_name"] for record in records if not record.get("is_intermediate")]
        return shown or [name for name in last_images(item) if name in made]

    async def _records(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Returns what the server knows of images, in their order; those that it does not know are left out."""
        if not names:
            return []
        body = await encode_json({"image_names": list(names)})
        reply = await self._server.request("POST", f"{_IMAGES}/images_by_names", body=body, timeout=TRANSFER_TIMEOUT)
        found = await _ANSWERS.mappings(reply, "a question for images")
        return [record for record in found if isinstance(record.get("image_name"), str)]

    async def _all_there(self, names: Sequence[str]) -> bool:
        return len(await self._records(names)) == len(names)

    async def _upload(self, upload: Upload) -> str:
        """Uploads an image; returns the name that the server gave it."""
        form = aiohttp.FormData()
        form.add_field("file", upload.data, filename=upload.name, content_type=content_type_of(upload.data))
        reply = await self._server.request(
            "POST",
            f"{_IMAGES}/upload",
            body=form,
            params={"image_category": "user", "is_intermediate": "true"},
            timeout=TRANSFER_TIMEOUT,
        )
        if reply.status == 415:
            raise PermanentError("invalid_input", f"{TITLE} cannot read an input; link to a PNG, JPEG or WebP image")
        name = (await _ANSWERS.mapping(reply, "an upload", status=201)).get("image_name")
        if not isinstance(name, str):
            raise _ANSWERS.garbage("an upload")
        return name

    async def _give_up(self, run: _Run, error: BaseException) -> None:
        """Stops a run, and waits until the server has let go of it, so that the next one does not meet it."""
        if isinstance(error, RuntimeUnavailableError):
            # There is nothing to stop; what waited in the queue runs when the server is back.
            self._met = False
            return
        is_refused = isinstance(error, PermanentError) and error.code != TOO_LARGE
        if not run.began or run.item or is_refused:
            # It has ended, or never was in the queue.
            return
        stopped = False
        try:
            with suppress(TimeoutError, TaskError):
                async with asyncio.timeout(CANCEL_GRACE):
                    await run.settle()
                    while await self._stop_once(run):  # noqa: ASYNC110 - the server sends no event
                        await asyncio.sleep(CANCEL_INTERVAL)
                    stopped = True
        finally:
            if not stopped:
                # Not before: another run that ends meanwhile must not take the server for stuck.
                self._left.add(run)
                log.warning("the run could not be stopped", batch_id=run.batch_id)

    async def _stop_once(self, run: _Run) -> bool:
        """Cancels the run's item; returns whether the server is still at it."""
        await self._ask("PUT", f"{_QUEUE}/cancel_by_batch_ids", {"batch_ids": [run.batch_id]})
        return await self._is_stopping()

    async def _is_stopping(self) -> bool:
        """Tells whether the server is at a run that the queue calls cancelled already.

        The queue does so at once, while the node that runs goes on to its end.
        """
        status = await self._ask("GET", f"{_QUEUE}/status")
        try:
            return bool(status["processor"]["is_processing"]) and not status["queue"]["in_progress"]
        except (KeyError, TypeError) as error:
            raise _ANSWERS.garbage("its status") from error

    async def _end_orphans(self) -> None:
        """Stops and deletes what agents before this one have left when they died: nobody waits for their answers.

        Items of others are left alone.
        """
        with suppress(TimeoutError, TaskError):
            async with asyncio.timeout(CANCEL_GRACE):
                destination = {"destination": DESTINATION}
                stopped = await self._ask("PUT", f"{_QUEUE}/cancel_by_destination", params=destination)
                if stopped.get("canceled"):
                    log.warning("stopping what another agent has left", items=stopped["canceled"])
                while await self._is_stopping():  # noqa: ASYNC110 - the server sends no event
                    await asyncio.sleep(CANCEL_INTERVAL)
                reply = await self._server.request("GET", f"{_QUEUE}/list_all", params=destination)
                for item in await _ANSWERS.mappings(reply, "its queue"):
                    await self._delete(item, [])

    def _clean_up(self, run: _Run) -> None:
        """Begins to delete what a run has left on the server; nobody waits for it."""
        if run.began or run.uploaded:
            task = asyncio.create_task(self._clean(run))
            self._cleaning.add(task)
            task.add_done_callback(self._cleaning.discard)

    async def _clean(self, run: _Run) -> None:
        for pause in CLEANING_PAUSES:
            await asyncio.sleep(pause)
            try:
                if not run.item and run.item_id is not None:
                    _, run.item = await self._item(run)
                await self._delete(run.item, list(run.uploaded.values()))
            except TaskError as error:
                log.info("the run's images could not be deleted", batch_id=run.batch_id, error=error.message)
                if not isinstance(error, TransientError):
                    return
            else:
                return

    async def _delete(self, item: dict[str, Any], others: Sequence[str]) -> None:
        """Deletes a session's own images, other images, and the session's item in the queue."""
        own = session_id(item)
        records = await self._records(made_images(item))
        names = [record["image_name"] for record in records if own and record.get("session_id") == own]
        if names or others:
            await self._ask("POST", f"{_IMAGES}/delete", {"image_names": [*names, *others]})
        if isinstance(item.get("item_id"), int):
            reply = await self._server.request("DELETE", f"{_QUEUE}/i/{item['item_id']}", timeout=TRANSFER_TIMEOUT)
            if reply.status >= 500:
                raise failure_of(reply.status, reply.body)

    async def _ask(
        self, method: str, path: str, document: dict[str, Any] | None = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        body = None if document is None else await encode_json(document)
        reply = await self._server.request(method, path, body=body, params=params, timeout=TRANSFER_TIMEOUT)
        return await _ANSWERS.mapping(reply, path)


class _GoneError(Exception):
    """An image was deleted between its making and its use."""


class _Run:
    """One batch of one item, whose submission a cancellation must not cut off: the server might take it unseen."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._submission: asyncio.Task[None] | None = None
        self.batch_id = str(uuid.uuid4())
        self.item_id: int | None = None
        self.item: dict[str, Any] = {}
        """The item as it was at the end, if it came to one of its own."""
        self.uploaded: dict[str, str] = {}
        """The server's names of the uploads, by ours."""

    @property
    def began(self) -> bool:
        """Whether the server may have heard of the batch."""
        return self._submission is not None

    async def send(self, body: bytes) -> None:
        """Submits, and learns the item's id.

        Raises:
            TaskError: the server refuses the graph, or has no room for it.
        """
        self._submission = asyncio.create_task(self._submit(body))
        self._submission.add_done_callback(look_at)
        await asyncio.shield(self._submission)

    async def settle(self) -> None:
        """Waits until the server has answered, whatever it answered."""
        if self._submission is not None:
            await asyncio.wait({self._submission})

    async def _submit(self, body: bytes) -> None:
        path = f"{_QUEUE}/enqueue_batch"
        document = await _ANSWERS.mapping(
            await self._server.request("POST", path, body=body, timeout=TRANSFER_TIMEOUT), path
        )
        items = document.get("item_ids")
        if items == []:
            raise TransientError("queue_full", f"the queue of {TITLE} is full")
        if not isinstance(items, list) or not isinstance(items[0], int):
            raise _ANSWERS.garbage(path)
        self.item_id = items[0]


def _taken_out() -> TransientError:
    return TransientError("run_deleted", f"somebody took the run out of the queue of {TITLE}")

"""Runs tasks on a server of OpenAI's image and video API: one long request for images, a job that is polled for videos.

The API has no way to stop an image's run. vLLM-Omni stops it when its caller hangs up; others run on to the end, and a
run that comes meanwhile waits for it there. So this side hangs up on the former, and on the others waits for the answer
that nobody wants any more: it tells when the server is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import structlog

from agent.documents import THREAD_THRESHOLD, encode_json, json_object
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.inputs import InputSource
from agent.media import SIGNATURE_SIZE, content_type_of
from agent.runtimes.base import Answer, Arriving, Prepared
from agent.runtimes.downloads import RemoteFile, download, nothing_fetched
from agent.runtimes.http import SMALL, TRANSFER_TIMEOUT, Opened, Reply, Server, look_at
from agent.runtimes.openai.answer import read_images
from agent.runtimes.openai.environment import read_environment
from agent.runtimes.openai.failures import TITLE, failure_of, failure_of_run, names_no_route, words_of
from agent.runtimes.openai.request import fields_of, form_of, is_text_field, request_for
from agent.runtimes.sdwebui.links import localise
from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.openai import VIDEOS
from contract.task import TaskType

POLL_INTERVAL: Final = 1.0
"""Seconds between two looks at a video's job."""

CANCEL_GRACE: Final = 10.0
"""Seconds that a run which was given up may still take before this agent says so."""

LARGE_ANSWER: Final = 256 * 1024
"""Bytes of an answer whose transfer the next run does not wait for."""

_MOST_FAILED_POLLS: Final = 5
"""Looks in a row that a server, busy with the run, may leave without an answer."""

_STOPPING: Final = ("vllm",)
"""How `owned_by` begins in `/v1/models` of servers that stop a run when its caller hangs up, or deletes its video."""

_OVER: Final = frozenset({"completed", "failed", "cancelled", "deleted", "expired"})

log = structlog.get_logger(__name__)


class OpenAi:
    """A server of OpenAI's image API, which one agent drives alone.

    Args:
        session: see `agent.runtimes.http.open_session`.
        base_url: where the server listens, without `/v1`.
        inputs: fetches links.
        most_bytes: of one answer.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, inputs: InputSource, *, most_bytes: int) -> None:
        self._server = Server(
            session,
            base_url.rstrip("/").removesuffix("/v1"),
            title=TITLE,
            ready_path="/health",
            or_ready_path="/v1/models",
            most_bytes=most_bytes,
        )
        self._inputs = inputs
        self._stops = False
        """Whether the server stops a run when its caller hangs up."""
        self._leaving: asyncio.Task[None] | None = None
        """Gets rid of a run that was given up."""
        self._requests: set[asyncio.Task[Opened]] = set()

    @property
    def left_running(self) -> bool:
        """See `Runtime`."""
        return self._leaving is not None and not self._leaving.done()

    async def wait_until_ready(self) -> None:
        """See `Runtime`."""
        if self._leaving is not None:
            await asyncio.wait({self._leaving})
        await self._server.wait_until_ready()
        with suppress(TaskError):
            self._stops = await self._asks_whether_it_stops()

    async def tell_environment(self) -> Lock:
        """See `agent.environment.TellsEnvironment`."""
        return await read_environment(self._server)

    async def is_alive(self) -> bool:
        """See `Runtime`."""
        return await self._server.is_alive()

    async def prepare(
        self, task_type: TaskType, content: dict[str, Any], *, tenant: str = "", rules: InputRules = NO_RULES
    ) -> Prepared:
        """See `Runtime`. Links become files of a form, or data URLs in JSON."""
        localised = await localise(
            content, self._inputs, tenant=tenant, rules=rules, is_text=is_text_field, prefix=_data_url
        )
        request = request_for(task_type, localised)
        body = await encode_json(request.body)
        if len(body) > THREAD_THRESHOLD:
            form = await asyncio.to_thread(form_of, request)
        else:
            form = form_of(request)
        if form is not None:
            return Prepared(task_type, {"path": request.path, "fields": form.fields}, uploads=form.files)
        return Prepared(task_type, {"path": request.path}, body=body)

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        """See `Runtime`. A large answer is on its way for a while after the server has let go of the run."""
        if self.left_running:
            raise RuntimeUnavailableError("runtime_busy", f"{TITLE} is still at a run that was given up")
        if prepared.content["path"] == VIDEOS:
            return await self._run_video(prepared, progress)
        opened = await self._send(prepared)
        arriving = _Arriving(opened, self._server)
        if opened.ok and (opened.size or 0) > LARGE_ANSWER:
            return arriving
        if not opened.ok:
            reply = await opened.read(TRANSFER_TIMEOUT)
            raise await self._failure(prepared.content["path"], reply)
        answer = await arriving.read()
        log.debug("run ended", run_id=run_id, outputs=len(answer.outputs))
        return answer

    async def resident_bytes(self) -> int | None:
        """See `Runtime`. The API does not tell it."""
        return None

    async def restart(self) -> bool:
        """See `Runtime`. The API has no route for it."""
        return False

    async def close(self) -> None:
        """See `Runtime`. The session belongs to whoever opened it."""
        tasks: list[asyncio.Task[Any]] = [*self._requests]
        if self._leaving is not None:
            tasks.append(self._leaving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, prepared: Prepared) -> Opened:
        """Sends a request for images, and waits for its answer's head, as long as the pipeline lets it."""
        request = asyncio.create_task(self._server.open("POST", prepared.content["path"], body=_body_of(prepared)))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        request.add_done_callback(look_at)
        try:
            # Shielded: whether a cancellation closes the connection depends on what the server makes of that.
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            request.add_done_callback(_close)
            if self._stops:
                request.cancel()
            await self._leave(_over(request))
            raise

    async def _leave(self, way: Coroutine[Any, Any, None]) -> None:
        """Begins to get rid of a run, and waits for that a while."""
        self._leaving = asyncio.create_task(way)
        self._leaving.add_done_callback(look_at)
        await asyncio.wait({self._leaving}, timeout=CANCEL_GRACE)
        if self.left_running:
            log.warning("the runtime goes on with a run that was given up", seconds=CANCEL_GRACE)

    async def _run_video(self, prepared: Prepared, progress: Callable[[float], None]) -> Answer:
        creating = asyncio.create_task(self._create_video(prepared))
        creating.add_done_callback(look_at)
        try:
            job = await asyncio.shield(creating)
            job = await self._watch_video(job, progress)
            answer = await self._fetch_video(job)
        except asyncio.CancelledError:
            await self._leave(self._end_video(creating))
            raise
        with suppress(TaskError):
            # Delivered: it would fill the server's disk.
            await self._server.request("DELETE", _job_path(job), most=SMALL)
        return answer

    async def _create_video(self, prepared: Prepared) -> _Job:
        """Creates the job of a video; returns it as the server tells of it.

        Without a file some take JSON alone, and others a form alone, as OpenAI's own documentation has it.
        """
        reply = await self._server.request("POST", VIDEOS, body=_body_of(prepared), timeout=TRANSFER_TIMEOUT)
        if reply.status in {400, 415, 422} and prepared.body:
            form = _form(fields_of(json_object(prepared.body)), prepared)
            reply = await self._server.request("POST", VIDEOS, body=form, timeout=TRANSFER_TIMEOUT)
        if reply.status not in {200, 201, 202}:
            raise await self._failure(VIDEOS, reply)
        return _read_job(reply)

    async def _watch_video(self, job: _Job, progress: Callable[[float], None]) -> _Job:
        """Returns the job once its video is made."""
        reported, failed = 0.0, 0
        while job.get("status") not in _OVER:
            await asyncio.sleep(POLL_INTERVAL)
            try:
                job = await self._look_at_video(job)
                failed = 0
            except TransientError as error:
                failed += 1
                if failed >= _MOST_FAILED_POLLS or error.code == "run_lost":
                    raise
            value = job.get("progress")
            if isinstance(value, int | float) and value / 100 > reported:
                reported = min(1.0, value / 100)
                progress(reported)
        if job["status"] != "completed":
            words = words_of(job) or str(job["status"])
            raise failure_of_run(words) or TransientError("runtime_error", f"{TITLE} failed at the video: {words}")
        return job

    async def _look_at_video(self, job: _Job) -> _Job:
        reply = await self._server.request("GET", _job_path(job), most=SMALL)
        if reply.status == 404:
            raise TransientError("run_lost", f"{TITLE} does not know the video any more")
        if not reply.ok:
            raise failure_of(reply.status, reply.body)
        return {**_read_job(reply), "id": job["id"]}

    async def _fetch_video(self, job: _Job) -> Answer:
        async with self._server.allowances.one() as allowance:
            found = await download(self._server, [RemoteFile("video", f"{_job_path(job)}/content")], allowance)
        if error := nothing_fetched(found, TITLE):
            raise error
        return Answer(found.outputs, await encode_json(job), found.warnings)

    async def _end_video(self, creating: asyncio.Task[_Job]) -> None:
        """Stops a video's job, or where that cannot be done waits until it has ended; then deletes it."""
        try:
            job = await creating
        except TaskError:
            return
        while not self._stops and job.get("status") not in _OVER:
            await asyncio.sleep(POLL_INTERVAL)
            try:
                job = await self._look_at_video(job)
            except TransientError as error:
                if error.code == "run_lost":
                    return
            except TaskError:
                return  # The server is gone, and the job with it.
        with suppress(TaskError):
            await self._server.request("DELETE", _job_path(job), most=SMALL)

    async def _failure(self, path: str, reply: Reply) -> TaskError:
        """Returns what an answer means; asks whether a server that lacks the route is one of this kind at all."""
        if not names_no_route(reply.status, reply.body):
            error = failure_of(reply.status, reply.body)
            if error.code == "runtime_not_ready" and await self.is_alive():
                # It would be waited for in vain: whatever it lacks, it says that it is ready.
                return TransientError("runtime_error", error.message)
            return error
        with suppress(TaskError):
            if (await self._server.request("GET", "/v1/models", most=SMALL)).ok:
                return PermanentError("unsupported_by_runtime", f"{TITLE} has no {path}; it makes nothing of that kind")
        return RuntimeUnavailableError(
            "runtime_without_api", f"the server at this address has no {path} ({reply.status}); check API_BASE_URL"
        )

    async def _asks_whether_it_stops(self) -> bool:
        reply = await self._server.request("GET", "/v1/models", most=SMALL)
        models = json_object(reply.body).get("data") if reply.ok else None
        first = models[0] if isinstance(models, list) and models else None
        return isinstance(first, dict) and str(first.get("owned_by") or "").lower().startswith(_STOPPING)


type _Job = dict[str, Any]


class _Arriving:
    """Images that are on their way."""

    def __init__(self, opened: Opened, server: Server) -> None:
        self._opened = opened
        self._server = server

    async def read(self) -> Answer:
        """See `Arriving`."""
        reply = await self._opened.read(TRANSFER_TIMEOUT)
        async with self._server.allowances.one(self._server.allowances.most - len(reply.body)) as allowance:
            return await read_images(reply.body, self._server, allowance)

    def drop(self) -> None:
        """See `Arriving`."""
        self._opened.close()


def _data_url(data: bytes) -> str:
    return f"data:{content_type_of(data[:SIGNATURE_SIZE])};base64,"


def _body_of(prepared: Prepared) -> bytes | aiohttp.FormData:
    """Returns the body of a request; a form anew for each, since one can be sent only once."""
    return prepared.body or _form(prepared.content["fields"], prepared)


def _form(fields: dict[str, str], prepared: Prepared) -> aiohttp.FormData:
    # Not quoted: the name is `image[]`, and FastAPI does not unquote it.
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    for upload in prepared.uploads:
        name, _, filename = upload.name.partition("/")
        kind = content_type_of(upload.data[:SIGNATURE_SIZE])
        form.add_field(name, upload.data, filename=filename, content_type=kind)
    return form


def _read_job(reply: Reply) -> _Job:
    """Returns the job of an answer.

    Raises:
        TransientError: it is none.
    """
    job = json_object(reply.body)
    if not isinstance(job.get("id"), str) or not job["id"]:
        raise TransientError("garbage_answer", f"{TITLE} answered with a video that has no id")
    return job


def _job_path(job: _Job) -> str:
    return f"{VIDEOS}/{quote(job['id'], safe='')}"


async def _over(request: asyncio.Task[Opened]) -> None:
    """Returns once a request is answered, or its connection is closed."""
    await asyncio.wait({request})


def _close(request: asyncio.Task[Opened]) -> None:
    """Closes an answer that nobody waits for any more."""
    if not request.cancelled() and request.exception() is None:
        request.result().close()

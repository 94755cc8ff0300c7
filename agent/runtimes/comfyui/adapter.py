"""Runs workflows on ComfyUI: submits, follows the events, falls back on the history, and fetches every file.

The GPU does not wait for files: inputs are uploaded while the run before goes on, and outputs are fetched while the
next one does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import structlog

from agent.documents import encode_json, json_object, read_json
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.inputs import InputSource
from agent.runtimes.allowance import Allowance, check_values, too_large
from agent.runtimes.answers import Answers
from agent.runtimes.base import Answer, Arriving, Output, Prepared, Upload
from agent.runtimes.comfyui.events import Ending, Watch, last_nodes, senders
from agent.runtimes.comfyui.failures import TITLE, failure_of, failure_of_execution, failure_of_nodes, may_lack_input
from agent.runtimes.comfyui.files import has_output, output_files
from agent.runtimes.comfyui.inputs import (
    FileInput,
    Takes,
    Takings,
    candidates,
    classes_to_ask,
    decode,
    file_inputs,
    name_of,
    read_inputs,
)
from agent.runtimes.comfyui.queue import Queued, prompts_of, read_queue
from agent.runtimes.comfyui.secrets import without_secrets
from agent.runtimes.comfyui.workflow import (
    read_workflow,
    with_other_prefixes,
    with_uploads,
)
from agent.runtimes.downloads import Downloads, download, nothing_fetched
from agent.runtimes.http import SMALL, TRANSFER_TIMEOUT, Interrupts, Reply, Server, WebSocket, ask_to_restart
from contract.inputs import NO_RULES, InputRules
from contract.task import TaskType

SILENCE: Final = 5.0
"""Seconds without an event after which the server is asked: a second socket with our id would have taken them all."""

PATIENCE: Final = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses in seconds before each look at the history: it is written a moment after the last event."""

INTERRUPT_GRACE: Final = 10.0
"""Seconds that an interrupted prompt may still take: it stops between nodes and sampler steps only."""

INTERRUPT_INTERVAL: Final = 0.25

LEFT_INTERVAL: Final = 1.0
"""Seconds between two looks at a prompt that did not end when it was interrupted."""

SUBMIT_TIMEOUT: Final = 60.0
"""Seconds; nodes of others may look at files, or at the network, to validate."""

AHEAD_TIMEOUT: Final = 30.0
"""Seconds in which inputs are uploaded ahead; what is not there then is uploaded by its run."""

MOST_INFO: Final = 16 * 1024 * 1024
"""Bytes of what the server tells of one class: a few hundred, and the names of all files or models to choose from."""

_REMEMBERED: Final = 1000
"""Uploaded files that are remembered."""

CLIENT: Final = "darkroom-agent-"
"""How the names of all agents begin towards the server."""

MEMORY: Final = "/darkroom/memory"
"""Of `local/runtimes/comfyui/custom_nodes/darkroom_memory.py`; a server without it answers 404."""

RECENT: Final = (10, 100, 1000)
"""How many of the last prompts of the history are looked through, until one that is known is among them."""

RESTARTS: Final = [(method, path) for method in ("POST", "GET") for path in ("/v2/manager/reboot", "/manager/reboot")]
RECONNECT_PAUSE: Final = 0.5

_NO_SUCH_ROUTE: Final = frozenset({404, 405})

_ANSWERS: Final = Answers(TITLE, failure_of)

log = structlog.get_logger(__name__)


class ComfyUi:
    """ComfyUI, over HTTP and its WebSocket.

    Args:
        session: see `agent.runtimes.http.open_session`.
        base_url: where the server listens.
        inputs: fetches links.
        most_bytes: of one answer.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, inputs: InputSource, *, most_bytes: int) -> None:
        self._server = Server(session, base_url, title=TITLE, ready_path="/system_stats", most_bytes=most_bytes)
        self._inputs = inputs
        self._met = False
        self._sent: set[_Submission] = set()
        """What is at the server, as far as is known."""
        self._stopping: set[_Submission] = set()
        self._left: set[_Submission] = set()
        """What was given up and may be there still."""
        self._interrupts = Interrupts(self._server)
        self._uploaded: OrderedDict[str, None] = OrderedDict()
        """Names of inputs that the server has, unless somebody has tidied up since."""
        self._told: dict[str, Takings] = {}
        """What the server has told of classes of nodes."""
        self._cancels_jobs = True
        """Whether the server may have a route that cancels one prompt, and never another (ComfyUI 0.33)."""

    @property
    def left_running(self) -> bool:
        """See `Runtime`. An older server takes every interrupt for whatever runs when it takes it."""
        return bool(self._left) or (self._interrupts.pending and not self._stopping)

    async def wait_until_ready(self) -> None:
        """See `Runtime`. The prompt that was given up is asked for, and stopped again, until it is gone."""
        self._uploaded.clear()  # it may be another one now, with an empty disk and other nodes
        self._told.clear()
        self._cancels_jobs = True
        await self._server.wait_until_ready()
        if not self._met:
            self._met = True
            await self._end_orphans()
        while self.left_running:
            try:
                if self._left:
                    left = next(iter(self._left))
                    await left.settle()
                    if await self._stop_once(left):
                        await asyncio.sleep(LEFT_INTERVAL)
                    else:
                        self._left.discard(left)
                else:
                    await self._interrupts.settle()
            except TaskError:
                await asyncio.sleep(LEFT_INTERVAL)
                await self._server.wait_until_ready()

    async def is_alive(self) -> bool:
        """See `Runtime`."""
        return await self._server.is_alive()

    async def prepare(
        self, task_type: TaskType, content: dict[str, Any], *, tenant: str = "", rules: InputRules = NO_RULES
    ) -> Prepared:
        """See `Runtime`. Links become names of files, which are uploaded now if the server is there.

        Which strings are files, the server tells; for classes that are not known by heart it is waited for.
        """
        workflow = read_workflow(content)
        nodes, uploads = workflow.nodes, list[Upload]()
        found = candidates(nodes)
        if files := file_inputs(nodes, found, await self._ask_for(classes_to_ask(nodes, found)), rules):
            contents = await self._contents(files, tenant)
            nodes, uploads = await asyncio.to_thread(with_uploads, nodes, files, contents)
            # Whatever is wrong here, the run will meet it again, and say so.
            with suppress(TaskError, TimeoutError):
                async with asyncio.timeout(AHEAD_TIMEOUT):
                    await self._upload(uploads)
        return Prepared(task_type, {**workflow.extra, "prompt": nodes}, uploads=uploads)

    async def _ask_for(self, classes: set[str]) -> Mapping[str, Takings]:
        """Returns what the inputs of some classes take; of a class that the server lacks, nothing."""
        if classes - self._told.keys():
            await self._server.wait_until_ready()
        told = {name: self._told[name] for name in classes & self._told.keys()}
        if len(self._told) > _REMEMBERED:  # names that no server knows are remembered, too
            self._told.clear()
        for name in classes - told.keys():
            path = f"/object_info/{quote(name, safe='')}"
            reply = await self._server.request("GET", path, timeout=SUBMIT_TIMEOUT, most=MOST_INFO)
            document = await _ANSWERS.mapping(reply, path)
            told[name] = self._told[name] = read_inputs(document.get(name))
        return told

    async def _contents(self, files: Sequence[FileInput], tenant: str) -> dict[str, tuple[str, bytes]]:
        """Returns name and content of each file, by the value that stands for it."""
        links = {file.value: file for file in files if file.is_link}
        pictures = {file.value for file in files if file.takes in {Takes.PICTURE, Takes.OUTPUT_PICTURE}}
        anything = links.keys() - pictures
        fetched = await self._inputs.fetch_all(links, tenant=tenant, of_any_kind=anything) if links else {}
        contents = {link: (name_of(link), data) for link, data in fetched.items()}
        for file in files:
            if not file.is_link and file.value not in contents:
                contents[file.value] = await asyncio.to_thread(decode, file)
        return contents

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        """See `Runtime`.

        A workflow that was run before comes from the server's cache, with the outputs of that time. When there are
        none (files deleted, an older server), it runs once more under other file names. What did not come from the
        cache would come to the same again.
        """
        if self.left_running:
            raise RuntimeUnavailableError("runtime_busy", f"{TITLE} is still at a prompt that was given up")
        missing = await self._upload(prepared.uploads)
        try:
            return await self._run(dict(prepared.content), run_id, progress)
        except TaskError as error:
            for upload in prepared.uploads:
                self._uploaded.pop(upload.name, None)
            if missing == len(prepared.uploads) or not may_lack_input(error):
                raise
        log.info("inputs that were uploaded before may be gone; they are uploaded again", run_id=run_id)
        await self._upload(prepared.uploads)
        return await self._run(dict(prepared.content), run_id, progress)

    async def _run(self, prompt: dict[str, Any], run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        again = False
        while True:
            try:
                watches = await self._run_prompt(prompt, run_id, progress)
                if len(watches) == 1 and watches[0].owns_outputs:
                    return _Arriving(partial(self._answer, watches, prompt.get("extra_data")))
                answer = await self._answer(watches, prompt.get("extra_data"))
            except _SpoiledError:
                log.info("an interrupt of another prompt hit this one; it runs once more", run_id=run_id)
                continue
            except _NoFilesError as error:
                if again or not error.may_come:
                    raise error.meaning from error
                log.info("the server answered from its cache, without files", run_id=run_id)
                prompt, again = await self._past_the_cache(prompt), True
            else:
                return answer

    async def resident_bytes(self) -> int | None:
        """See `Runtime`. A custom node of our image tells it; `/system_stats` is about the whole machine."""
        reply = await self._server.request("GET", MEMORY, most=SMALL)
        used = json_object(reply.body).get("resident_bytes") if reply.ok else None
        return used if isinstance(used, int) else None

    async def restart(self) -> bool:
        """See `Runtime`. The server itself has no route for it; its companion ComfyUI-Manager has.

        Its versions differ in the route's name and method, and its security level may refuse with 403.
        """
        return await ask_to_restart(self._server, RESTARTS, lacking=frozenset({404, 405}))

    async def close(self) -> None:
        """See `Runtime`. The session belongs to whoever opened it."""
        await self._interrupts.close()

    async def _run_prompt(self, prompt: dict[str, Any], run_id: str, progress: Callable[[float], None]) -> list[Watch]:
        """Runs a prompt to its good end, and those that its nodes queue to go on; returns what was told of each.

        Raises:
            _SpoiledError: an older server took the interrupt of another prompt for this one.
        """
        prompt_id = str(uuid.uuid4())
        # Each prompt has a socket of its own: of two with one id the server forgets the first.
        client_id = f"{CLIENT}{prompt_id}"
        log.debug("submitting", run_id=run_id, prompt_id=prompt_id)
        body = await encode_json({**prompt, "client_id": client_id, "prompt_id": prompt_id})
        nodes = prompt["prompt"]
        rising = _rising(progress)
        watches: list[Watch] = []
        submission = _Submission(self._server, body, prompt_id, client_id, spoiled=bool(self._stopping))
        self._sent.add(submission)
        try:
            following: str | None = prompt_id
            while following is not None:
                watch = Watch(following, frozenset(nodes), senders=senders(nodes), last_nodes=last_nodes(nodes))
                watches.append(watch)
                await self._follow(watch, submission, f"/ws?clientId={client_id}", partial(rising, watch))
                following = await self._successor(watches, client_id) if watch.is_unfinished else None
                submission.prompt_id = following or submission.prompt_id
            if watch.goes_on:
                await self._stop(submission)
        except (asyncio.CancelledError, TaskError) as error:
            # Not after a death: there is nothing left to stop.
            if not isinstance(error, RuntimeUnavailableError):
                await self._stop(submission)
            raise
        finally:
            self._sent.discard(submission)
        match watch.ending:
            case Ending.FAILED:
                raise failure_of_execution(watch.failure)
            case Ending.INTERRUPTED if submission.spoiled:
                raise _SpoiledError
            case Ending.INTERRUPTED:
                raise TransientError("interrupted", f"somebody interrupted the prompt on {TITLE}")
        return watches

    async def _successor(self, watches: Sequence[Watch], client_id: str) -> str:
        """Returns the id of the prompt in which the last one goes on; a node has queued it in our name.

        Raises:
            TransientError: there is none: somebody has emptied the queue.
        """
        followed = {watch.prompt_id for watch in watches}
        for pause in PATIENCE:
            await asyncio.sleep(pause)
            # The queue first: what leaves it meanwhile is in the history by then. And what has ended goes before what
            # runs: a batch may be several prompts further by now.
            queued = await self._read_queue()
            found = await self._ended_since(watches[-1].prompt_id, client_id)
            found += [name for name, item in queued.items() if item.client_id == client_id]
            for prompt_id in found:
                if prompt_id not in followed:
                    return prompt_id
        raise TransientError("prompt_deleted", f"a batch goes on in a prompt that is not in the queue of {TITLE}")

    async def _ended_since(self, prompt_id: str, client_id: str) -> list[str]:
        """Returns one client's prompts that have ended, oldest first, back to a prompt that is known to have ended."""
        for most in RECENT:
            reply = await self._server.request("GET", f"/history?max_items={most}", timeout=TRANSFER_TIMEOUT)
            history = await _ANSWERS.mapping(reply, "/history")
            if prompt_id in history or len(history) < most:
                break
        return prompts_of(history, client_id)

    def _why_nothing(self, watches: Sequence[Watch], found: Downloads) -> TaskError:
        if any(watch.forgotten for watch in watches):
            return TransientError("output_lost", f"{TITLE} has forgotten the run, and its outputs with it")
        if any(watch.missed_pictures for watch in watches):
            return TransientError("output_lost", f"the connection to {TITLE} broke while it sent pictures through it")
        return nothing_fetched(found, TITLE) or PermanentError(
            "no_outputs", "the workflow ended without an output; end it with a node that saves"
        )

    async def _answer(self, watches: Sequence[Watch], extra_data: Any) -> Answer:
        """Returns what a prompt that has ended has made, or several that are one work.

        Raises:
            _NoFilesError: nothing, or files that are not there any more.
        """
        async with self._server.allowances.one() as allowance:
            await allowance.take(sum(len(picture) for watch in watches for picture in watch.pictures))
            raws = [await self._read_history(watch, allowance) for watch in watches]
            files = dict.fromkeys(file for watch in watches for file in output_files(watch.outputs))
            found = await download(self._server, [file.remote for file in files], allowance)
        outputs = [*found.outputs, *(Output(data, "picture.png") for watch in watches for data in watch.pictures)]
        if not outputs and (found.refused or not any(has_output(watch.outputs) for watch in watches)):
            gone = not found.refused or 404 in found.refused.values()
            cached = any(watch.came_from_cache for watch in watches)
            raise _NoFilesError(self._why_nothing(watches, found), may_come=gone and cached)
        raw = raws[0] if len(raws) == 1 else await _merged(raws)
        return Answer(outputs, without_secrets(raw, extra_data), found.warnings)

    async def _follow(self, watch: Watch, submission: _Submission, path: str, report: Callable[[], None]) -> None:
        """Returns once the prompt has ended. Connects as often as it takes while the server lives.

        The socket is there before the prompt is: nothing is replayed to a socket that comes later.
        """
        while watch.ending is None:
            try:
                async with self._server.websocket(path) as socket:
                    if submission.accepted:
                        await self._ask(watch, lost=True)
                    else:
                        await submission.send()
                        watch.prompt_id = submission.prompt_id
                    await self._listen(socket, watch, report)
            except (aiohttp.ClientError, OSError) as error:
                log.warning("the WebSocket does not open", error=type(error).__name__)
                lost = await self._server.why_lost()
                if isinstance(lost, RuntimeUnavailableError) or not submission.accepted:
                    raise lost from error
            watch.missed = watch.missed or watch.ending is None
            if watch.ending is None:
                # The socket is gone; whether the server is, HTTP tells.
                await self._ask(watch, lost=True)
            if watch.ending is None:
                await asyncio.sleep(RECONNECT_PAUSE)

    async def _listen(self, socket: WebSocket, watch: Watch, report: Callable[[], None]) -> None:
        """Takes events until the prompt has ended or the socket has."""
        while watch.ending is None:
            try:
                message = await socket.receive(timeout=SILENCE)
            except TimeoutError:
                await self._ask(watch, lost=False)
                continue
            match message.type:
                case aiohttp.WSMsgType.TEXT:
                    check_values(message.data, TITLE)
                    with suppress(ValueError):
                        watch.feed(read_json(message.data), len(message.data))
                    report()
                case aiohttp.WSMsgType.BINARY:
                    watch.feed_frame(message.data)
                case aiohttp.WSMsgType.ERROR if _is_too_big(message.data):
                    raise too_large(TITLE, self._server.allowances.most)
                case _:
                    return
            if watch.kept_bytes > self._server.allowances.most:
                raise too_large(TITLE, self._server.allowances.most)

    async def _ask(self, watch: Watch, *, lost: bool) -> None:
        """Asks by HTTP what became of the prompt; notes its end in `watch`.

        Args:
            watch: the prompt.
            lost: whether the socket broke, as it does when the server restarts.

        Raises:
            RuntimeUnavailableError: the server is dead, or is another one that knows nothing of the prompt.
            TransientError: somebody took the prompt out of the queue.
        """
        for pause in PATIENCE:
            await asyncio.sleep(pause)
            if (found := await self._history(watch.prompt_id)) is not None:
                watch.read_history(found[1])
                return
            if watch.prompt_id in await self._read_queue():
                return
        if lost:
            raise RuntimeUnavailableError("runtime_restarted", f"{TITLE} was started again in the middle of the run")
        raise TransientError("prompt_deleted", f"somebody took the prompt out of the queue of {TITLE}")

    async def _read_history(self, watch: Watch, allowance: Allowance) -> bytes:
        """Returns the prompt's history as received, and takes the outputs from it: a late socket missed some."""
        for pause in PATIENCE:
            await asyncio.sleep(pause)
            if (found := await self._history(watch.prompt_id, allowance)) is not None:
                watch.read_history(found[1])
                return found[0]
        # Deleted by somebody, or the server was started again; the events have told the same.
        watch.forgotten = True
        return await encode_json({watch.prompt_id: {"outputs": watch.outputs}})

    async def _history(self, prompt_id: str, allowance: Allowance | None = None) -> tuple[bytes, dict[str, Any]] | None:
        """Returns the prompt's history, raw and its entry; None as long as there is none, which is no error."""
        reply = await self._server.request(
            "GET", f"/history/{prompt_id}", timeout=TRANSFER_TIMEOUT, allowance=allowance
        )
        document = await _ANSWERS.mapping(reply, "/history")
        entry = document.get(prompt_id)
        return (reply.body, entry) if isinstance(entry, dict) else None

    async def _read_queue(self) -> dict[str, Queued]:
        """Returns the prompts that run or wait, by their ids."""
        return read_queue(await _ANSWERS.mapping(await self._server.request("GET", "/queue"), "/queue"))

    async def _stop(self, submission: _Submission) -> None:
        """Stops a prompt, and waits until the server has let go of it, so that the next one does not meet it."""
        if not submission.began:
            return
        stopped = False
        self._stopping.add(submission)
        try:
            with suppress(TimeoutError, TaskError):
                async with asyncio.timeout(INTERRUPT_GRACE):
                    await submission.settle()
                    while await self._stop_once(submission):  # noqa: ASYNC110 - the server sends no event
                        await asyncio.sleep(INTERRUPT_INTERVAL)
                    stopped = True
        finally:
            self._stopping.discard(submission)
            if not stopped:
                self._left.add(submission)
                log.warning("the prompt could not be stopped", prompt_id=submission.prompt_id)

    async def _end_orphans(self) -> None:
        """Stops the prompts that agents before this one have left when they died: nobody waits for their answers.

        Prompts of others are left alone.
        """
        with suppress(TimeoutError, TaskError):
            async with asyncio.timeout(INTERRUPT_GRACE):
                while orphans := [
                    prompt_id
                    for prompt_id, queued in (await self._read_queue()).items()
                    if queued.client_id.startswith(CLIENT)
                ]:
                    log.warning("stopping what another agent has left", prompts=len(orphans))
                    for prompt_id in orphans:
                        await self._take_out(prompt_id)
                    await asyncio.sleep(INTERRUPT_INTERVAL)

    async def _stop_once(self, submission: _Submission) -> bool:
        """Stops a prompt and what its nodes have queued in its name; returns whether any of it was still there."""
        found = [
            prompt_id
            for prompt_id, queued in (await self._read_queue()).items()
            if prompt_id == submission.prompt_id or queued.client_id == submission.client_id
        ]
        for prompt_id in found:
            await self._take_out(prompt_id)
        return bool(found)

    async def _take_out(self, prompt_id: str) -> None:
        """Takes a prompt out of the queue, or interrupts it: by one request where the server has a route for it.

        Otherwise the queue is asked first, since the answers to both are 200 whatever happened, and since an older
        server takes every interrupt for the running prompt, whomever it belongs to.
        """
        if self._cancels_jobs and await self._cancel_job(prompt_id):
            return
        queued = (await self._read_queue()).get(prompt_id)
        if queued is None:
            return
        if queued.running:
            for other in self._sent:
                other.spoiled = other.spoiled or other.prompt_id != prompt_id
            await self._interrupts.send("/interrupt", await encode_json({"prompt_id": prompt_id}))
        else:
            await self._server.request("POST", "/queue", body=await encode_json({"delete": [prompt_id]}))

    async def _cancel_job(self, prompt_id: str) -> bool:
        """Cancels a prompt, whether it waits or runs; returns whether the server can do that.

        The server compares the id and interrupts in one step, so that a late answer cannot hit another prompt.
        """
        reply = await self._interrupts.send(f"/api/jobs/{quote(prompt_id, safe='')}/cancel", b"{}")
        if reply.status in _NO_SUCH_ROUTE:
            self._cancels_jobs = False
        return reply.ok

    async def _past_the_cache(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Returns the prompt such that it really runs; frees the cache when no file name can be varied."""
        varied = with_other_prefixes(prompt["prompt"], uuid.uuid4().hex[:4])
        if varied is not None:
            return {**prompt, "prompt": varied}
        await self._server.request(
            "POST", "/free", body=await encode_json({"unload_models": False, "free_memory": True})
        )
        return prompt

    async def _upload(self, uploads: Sequence[Upload]) -> int:
        """Uploads what the server is not known to have; returns how many that were."""
        missing = [upload for upload in uploads if upload.name not in self._uploaded]
        for upload in missing:
            await self._put(upload)
            self._uploaded[upload.name] = None
            if len(self._uploaded) > _REMEMBERED:
                self._uploaded.popitem(last=False)
        return len(missing)

    async def _put(self, upload: Upload) -> None:
        """Uploads a file, and leaves one alone that is there already: a run may be reading it.

        The name tells the content, so what has the name and other bytes is a piece of it, and is replaced.
        """
        if await self._store(upload, overwrite=False) == upload.name:
            return
        if await self._store(upload, overwrite=True) != upload.name:
            raise TransientError("garbage_answer", f"{TITLE} stored the input {upload.name} under another name")

    async def _store(self, upload: Upload, *, overwrite: bool) -> str:
        """Uploads a file; returns the name that the server gave it, with its folder.

        Without `overwrite` it compares the bytes first.
        """
        folder, _, name = upload.name.rpartition("/")
        form = aiohttp.FormData()
        form.add_field("image", upload.data, filename=name, content_type="application/octet-stream")
        form.add_field("type", "input")
        form.add_field("subfolder", folder)
        if overwrite:
            form.add_field("overwrite", "true")
        reply = await self._server.request("POST", "/upload/image", body=form, timeout=TRANSFER_TIMEOUT)
        stored = await _ANSWERS.mapping(reply, "/upload/image")
        return "/".join(filter(None, (folder, str(stored.get("name")))))


class _SpoiledError(Exception):
    """A prompt was stopped by an interrupt that was meant for another one."""


class _NoFilesError(Exception):
    """A prompt has ended well, and there is nothing of it.

    Attributes:
        meaning: what this means for the task.
        may_come: whether it came from the cache, so that a run past it may give more.
    """

    def __init__(self, meaning: TaskError, *, may_come: bool) -> None:
        super().__init__(str(meaning))
        self.meaning = meaning
        self.may_come = may_come


class _Arriving:
    """See `Arriving`: the prompt has ended, and its files are to be fetched."""

    def __init__(self, read: Callable[[], Awaitable[Answer]]) -> None:
        self._read = read

    async def read(self) -> Answer:
        """See `Arriving`."""
        try:
            return await self._read()
        except _NoFilesError as error:
            raise error.meaning from error

    def drop(self) -> None:
        """See `Arriving`. Nothing is open."""


class _Submission:
    """One `POST /prompt`, which a cancellation must not cut off: the server might take it unseen."""

    def __init__(self, server: Server, body: bytes, prompt_id: str, client_id: str, *, spoiled: bool) -> None:
        self._server = server
        self._body = body
        self._request: asyncio.Task[Reply] | None = None
        self.prompt_id = prompt_id
        """Ours, unless it is an old server, or the prompt goes on in another one."""
        self.client_id = client_id
        self.accepted = False
        self.spoiled = spoiled
        """Whether an interrupt that was meant for another prompt may hit this one."""

    @property
    def began(self) -> bool:
        """Whether the server may have heard of the prompt."""
        return self._request is not None

    async def send(self) -> None:
        """Submits, and learns the id that the server gave.

        Raises:
            TaskError: the server refuses the workflow, or a part of it.
        """
        self._request = asyncio.create_task(
            self._server.request("POST", "/prompt", body=self._body, timeout=SUBMIT_TIMEOUT)
        )
        document = await _ANSWERS.mapping(await asyncio.shield(self._request), "/prompt")
        if document.get("node_errors"):
            # Some outputs are valid and run already; half a result is no result.
            raise failure_of_nodes(document["node_errors"])
        self.accepted = True
        prompt_id = document.get("prompt_id")
        if isinstance(prompt_id, str):
            self.prompt_id = prompt_id

    async def settle(self) -> None:
        """Waits until the server has answered, whatever it answered."""
        if self._request is not None:
            await asyncio.wait({self._request})


async def _merged(raws: Sequence[bytes]) -> bytes:
    """Returns several answers of `/history` as one."""
    merged: dict[str, Any] = {}
    for raw in raws:
        merged |= read_json(raw)
    return await encode_json(merged)


def _is_too_big(error: object) -> bool:
    """Tells whether a WebSocket broke since a message is larger than an answer may be."""
    return isinstance(error, aiohttp.WebSocketError) and error.code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


def _rising(progress: Callable[[float], None]) -> Callable[[Watch], None]:
    """Returns a function that reports a watch's progress when it has grown."""
    reported = 0.0

    def report(watch: Watch) -> None:
        nonlocal reported
        if watch.progress > reported:
            reported = watch.progress
            progress(reported)

    return report

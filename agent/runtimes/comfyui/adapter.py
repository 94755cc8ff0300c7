"""Runs workflows on ComfyUI: prepares them, submits them, and follows their events to the end.

The GPU does not wait for files: inputs are uploaded while the run before goes on, and outputs are fetched while the
next one does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import aiohttp
import structlog

from agent.documents import encode_json, json_object, read_json
from agent.errors import RuntimeUnavailableError, TaskError, TransientError
from agent.inputs import InputSource
from agent.runtimes.allowance import check_values, too_large
from agent.runtimes.base import Answer, Arriving, Prepared, Upload
from agent.runtimes.comfyui.classes import Classes
from agent.runtimes.comfyui.environment import packs_of, read_environment
from agent.runtimes.comfyui.events import Ending, Watch, last_nodes, senders
from agent.runtimes.comfyui.failures import TITLE, failure_of_execution, may_lack_input
from agent.runtimes.comfyui.input_folder import InputFolder
from agent.runtimes.comfyui.inputs import FileInput, Takes, candidates, classes_to_ask, decode, file_inputs, name_of
from agent.runtimes.comfyui.prompts import Prompts
from agent.runtimes.comfyui.results import ArrivingFiles, NoFilesError, read_answer
from agent.runtimes.comfyui.stopping import Stopper
from agent.runtimes.comfyui.submission import CLIENT, Submission
from agent.runtimes.comfyui.workflow import read_workflow, with_other_prefixes, with_uploads
from agent.runtimes.http import SMALL, Server, WebSocket, ask_to_restart
from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.task import TaskType

SILENCE: Final = 5.0
"""Seconds without an event after which the server is asked: a second socket with our id would have taken them all."""

AHEAD_TIMEOUT: Final = 30.0
"""Seconds in which inputs are uploaded ahead; what is not there then is uploaded by its run."""

MEMORY: Final = "/darkroom/memory"
"""Of `local/runtimes/comfyui/custom_nodes/darkroom_memory.py`; a server without it answers 404."""

RESTARTS: Final = [(method, path) for method in ("POST", "GET") for path in ("/v2/manager/reboot", "/manager/reboot")]
RECONNECT_PAUSE: Final = 0.5

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
        self._prompts = Prompts(self._server)
        self._stopper = Stopper(self._server, self._prompts)
        self._input_folder = InputFolder(self._server)
        self._classes = Classes(self._server)
        self._packs: frozenset[str] | None = None
        """The node packs of the server, once its nodes are told."""
        self._telling = asyncio.Lock()
        self._met = False
        self.met = asyncio.Event()
        """See `agent.catalogue.TellsNodes`."""

    @property
    def left_running(self) -> bool:
        """See `Runtime`."""
        return self._stopper.left_running

    async def wait_until_ready(self) -> None:
        """See `Runtime`. The prompt that was given up is asked for, and stopped again, until it is gone."""
        self._input_folder.met_anew()
        self._classes.met_anew()
        self._packs = None
        self._stopper.met_anew()
        await self._server.wait_until_ready()
        if not self._met:
            self._met = True
            await self._stopper.end_orphans()
        await self._stopper.settle()
        self.met.set()

    async def tell_nodes(self) -> dict[str, Any]:
        """See `agent.catalogue.TellsNodes`."""
        async with self._telling:
            return await self._tell_nodes()

    async def _tell_nodes(self) -> dict[str, Any]:
        told = await self._classes.tell_all()
        self._packs = packs_of(told)
        return told

    async def tell_environment(self) -> Lock:
        """See `agent.environment.TellsEnvironment`. The nodes are asked for once, whoever wants to know of them."""
        async with self._telling:
            if self._packs is None:
                await self._tell_nodes()
        return await read_environment(self._server, self._packs or frozenset())

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
        if files := file_inputs(nodes, found, await self._classes.ask_for(classes_to_ask(nodes, found)), rules):
            contents = await self._contents(files, tenant)
            nodes, uploads = await asyncio.to_thread(with_uploads, nodes, files, contents)
            # Whatever is wrong here, the run will meet it again, and say so.
            with suppress(TaskError, TimeoutError):
                async with asyncio.timeout(AHEAD_TIMEOUT):
                    await self._input_folder.bring(uploads)
        return Prepared(task_type, {**workflow.extra, "prompt": nodes}, uploads=uploads)

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
        missing = await self._input_folder.bring(prepared.uploads)
        try:
            return await self._run(dict(prepared.content), run_id, progress)
        except TaskError as error:
            self._input_folder.forget(prepared.uploads)
            if missing == len(prepared.uploads) or not may_lack_input(error):
                raise
        log.info("inputs that were uploaded before may be gone; they are uploaded again", run_id=run_id)
        await self._input_folder.bring(prepared.uploads)
        return await self._run(dict(prepared.content), run_id, progress)

    async def _run(self, prompt: dict[str, Any], run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        again = False
        while True:
            try:
                watches = await self._run_prompt(prompt, run_id, progress)
                read = partial(read_answer, self._server, self._prompts, watches, prompt.get("extra_data"))
                if len(watches) == 1 and watches[0].owns_outputs:
                    return ArrivingFiles(read)
                answer = await read()
            except _SpoiledError:
                log.info("an interrupt of another prompt hit this one; it runs once more", run_id=run_id)
                continue
            except NoFilesError as error:
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
        await self._stopper.close()

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
        submission = Submission(self._server, body, prompt_id, client_id, spoiled=bool(self._stopper.stopping))
        self._stopper.sent.add(submission)
        try:
            following: str | None = prompt_id
            while following is not None:
                watch = Watch(following, frozenset(nodes), senders=senders(nodes), last_nodes=last_nodes(nodes))
                watches.append(watch)
                await self._follow(watch, submission, f"/ws?clientId={client_id}", partial(rising, watch))
                following = await self._prompts.successor(watches, client_id) if watch.is_unfinished else None
                submission.prompt_id = following or submission.prompt_id
            if watch.goes_on:
                await self._stopper.stop(submission)
        except (asyncio.CancelledError, TaskError) as error:
            # Not after a death: there is nothing left to stop.
            if not isinstance(error, RuntimeUnavailableError):
                await self._stopper.stop(submission)
            raise
        finally:
            self._stopper.sent.discard(submission)
        match watch.ending:
            case Ending.FAILED:
                raise failure_of_execution(watch.failure)
            case Ending.INTERRUPTED if submission.spoiled:
                raise _SpoiledError
            case Ending.INTERRUPTED:
                raise TransientError("interrupted", f"somebody interrupted the prompt on {TITLE}")
        return watches

    async def _follow(self, watch: Watch, submission: Submission, path: str, report: Callable[[], None]) -> None:
        """Returns once the prompt has ended. Connects as often as it takes while the server lives.

        The socket is there before the prompt is: nothing is replayed to a socket that comes later.
        """
        while watch.ending is None:
            try:
                async with self._server.websocket(path) as socket:
                    if submission.accepted:
                        await self._prompts.ask(watch, lost=True)
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
                await self._prompts.ask(watch, lost=True)
            if watch.ending is None:
                await asyncio.sleep(RECONNECT_PAUSE)

    async def _listen(self, socket: WebSocket, watch: Watch, report: Callable[[], None]) -> None:
        """Takes events until the prompt has ended or the socket has."""
        while watch.ending is None:
            try:
                message = await socket.receive(timeout=SILENCE)
            except TimeoutError:
                await self._prompts.ask(watch, lost=False)
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

    async def _past_the_cache(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """Returns the prompt such that it really runs; frees the cache when no file name can be varied."""
        varied = with_other_prefixes(prompt["prompt"], uuid.uuid4().hex[:4])
        if varied is not None:
            return {**prompt, "prompt": varied}
        await self._server.request(
            "POST", "/free", body=await encode_json({"unload_models": False, "free_memory": True})
        )
        return prompt


class _SpoiledError(Exception):
    """A prompt was stopped by an interrupt that was meant for another one."""


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

"""Runs tasks on SD Web UI: the checkpoint first, then one long request, watched and stopped from beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import aiohttp
import structlog

from agent.documents import decode_json, encode_json
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.inputs import InputSource
from agent.runtimes.answers import Answers
from agent.runtimes.base import Answer, Arriving, Prepared
from agent.runtimes.http import SMALL, Interrupts, Opened, Server, ask_to_restart, look_at
from agent.runtimes.sdwebui.answer import read_answer
from agent.runtimes.sdwebui.checkpoints import (
    Checkpoint,
    describe_choice,
    find_checkpoint,
    read_checkpoints,
    without_hash,
)
from agent.runtimes.sdwebui.environment import read_environment
from agent.runtimes.sdwebui.failures import TITLE, failure_of
from agent.runtimes.sdwebui.links import localise
from agent.runtimes.sdwebui.request import GENERATING, ROUTES, request_body
from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.task import TaskType

PROGRESS_INTERVAL: Final = 1.0
"""Seconds between two looks at `/progress`."""

INTERRUPT_GRACE: Final = 10.0
"""Seconds that an interrupted run may still take: it stops between two sampling steps only."""

INTERRUPT_INTERVAL: Final = 1.0
"""Seconds between two interrupts. One is lost if the run had not begun: `state.begin()` clears the flag."""

LARGE_ANSWER: Final = 256 * 1024
"""Bytes of an answer whose transfer the next run does not wait for."""

TRANSFER_TIMEOUT: Final = 120.0
"""Seconds for the rest of an answer whose head is here."""

SWITCH_TIMEOUT: Final = 600.0
"""Seconds to load another checkpoint, which may come from S3 through a file system."""

_ANSWERS: Final = Answers(TITLE, failure_of)

log = structlog.get_logger(__name__)


class SdWebUi:
    """SD Web UI, which one agent drives alone: its interrupt and its progress name no request.

    Requests that are at the server together run one by one, in the order in which they were sent (`queue_lock` in
    modules/call_queue.py). One that waits cannot be taken back. An interrupt hits whatever runs when it arrives: a run
    that was at the server then, and was not meant, is made again.

    Args:
        session: see `agent.runtimes.http.open_session`.
        base_url: where the server listens.
        inputs: fetches links.
        dynamic_model: whether a request may switch the checkpoint.
        most_bytes: of one answer.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        inputs: InputSource,
        *,
        dynamic_model: bool,
        most_bytes: int,
    ) -> None:
        self._server = Server(session, base_url, title=TITLE, ready_path="/sdapi/v1/options", most_bytes=most_bytes)
        self._inputs = inputs
        self._dynamic_model = dynamic_model
        self._line: list[_Sent] = []
        """What is at the server, in order."""
        self._sending = asyncio.Lock()
        self._stops: set[asyncio.Task[None]] = set()
        self._interrupts = Interrupts(self._server)
        self._interrupts_runs = True
        """Whether the server can stop a run; sd-server of stable-diffusion.cpp cannot."""
        self._known: list[Checkpoint] = []
        self._current: Checkpoint | None = None

    @property
    def left_running(self) -> bool:
        """See `Runtime`. The server ends a run by answering its request, and an interrupt hits whatever runs then."""
        return any(sent.given_up for sent in self._line) or (self._interrupts.pending and not self._stops)

    async def wait_until_ready(self) -> None:
        """See `Runtime`. What was known of the server's checkpoints is forgotten: it may be another server now."""
        # A server that dies answers nothing, but its connections break: then these are over, too.
        await self._wait_until_alone()
        await self._interrupts.settle()
        self._known, self._current = [], None
        self._interrupts_runs = True
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
        """See `Runtime`. Links become base64."""
        request, checkpoint = request_body(task_type, content)
        body = await encode_json(await localise(request, self._inputs, tenant=tenant, rules=rules))
        return Prepared(task_type, {}, checkpoint if task_type in GENERATING else None, body)

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        """See `Runtime`. A large answer is on its way for a while after the server has let go of the run."""
        while True:
            try:
                sent = await self._send(prepared)
                opened = await self._opened(sent, progress)
                if sent.spoiled and opened.ok:
                    # A half-made image answers with 200, too.
                    opened.close()
                    log.info("an interrupt may have hit this run, which was not meant; it is made again", run_id=run_id)
                    continue
                if opened.ok and prepared.checkpoint is None and (opened.size or 0) > LARGE_ANSWER:
                    return _Arriving(opened)
                answer, model = await read_answer(await opened.read(TRANSFER_TIMEOUT))
                if prepared.checkpoint is not None:
                    _check_model(prepared.checkpoint, sent.checkpoint, model)
            except BaseException:
                # Whatever happened, the next run asks the server again which checkpoint it holds.
                self._current = None
                raise
            log.debug("run ended", run_id=run_id, outputs=len(answer.outputs))
            return answer

    async def resident_bytes(self) -> int | None:
        """See `Runtime`. Its `ram.used` is the resident set of its process (modules/api/api.py, `get_memory`)."""
        document = await self._get("/sdapi/v1/memory")
        ram = document.get("ram") if isinstance(document, dict) else None
        used = ram.get("used") if isinstance(ram, dict) else None
        return int(used) if isinstance(used, int | float) else None

    async def restart(self) -> bool:
        """See `Runtime`. The first two routes are there only with `--api-server-stop`, the third one in SD.Next always.

        `server-restart` answers 501 unless webui.sh started the server (SD_WEBUI_RESTART). `server-kill` ends it, and
        whoever keeps it running, such as the kubelet, starts it again.
        """
        routes = [("POST", f"/sdapi/v1/{name}") for name in ("server-restart", "server-kill", "restart")]
        return await ask_to_restart(self._server, routes, lacking=frozenset({404, 405, 500, 501}))

    async def close(self) -> None:
        """See `Runtime`. The session belongs to whoever opened it."""
        tasks = [*self._stops, *(sent.request for sent in self._line)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._interrupts.close()

    async def _send(self, prepared: Prepared) -> _Sent:
        """Sends a run's request, as soon as it would neither be hit by an interrupt nor run with a wrong checkpoint."""
        async with self._sending:
            while self._stops:
                await asyncio.wait(self._stops)
                await asyncio.sleep(0)
            if self.left_running:
                raise RuntimeUnavailableError("runtime_busy", f"{TITLE} is still at a run that was given up")
            if prepared.checkpoint is not None and not self._holds(prepared.checkpoint):
                # A switch takes effect at once, on whatever runs.
                await self._wait_until_alone()
                await self._use(prepared.checkpoint)
            path = ROUTES[prepared.task_type]
            sent = _Sent(asyncio.create_task(self._server.open("POST", path, body=prepared.body)), self._current)
            self._line.append(sent)
            self._line[0].turn.set()
            sent.request.add_done_callback(lambda _: self._leave(sent))
            return sent

    def _leave(self, sent: _Sent) -> None:
        self._line.remove(sent)
        if self._line:
            self._line[0].turn.set()
        look_at(sent.request)

    async def _opened(self, sent: _Sent, progress: Callable[[float], None]) -> Opened:
        """Waits for a run's answer to begin, as long as the pipeline lets it."""
        watch = asyncio.create_task(self._watch(sent, progress))
        try:
            # Shielded: a cancellation must not close the connection, or the server would go on unseen.
            return await asyncio.shield(sent.request)
        except asyncio.CancelledError:
            sent.request.add_done_callback(_close)
            stop = asyncio.create_task(self._stop(sent))
            self._stops.add(stop)
            stop.add_done_callback(self._stops.discard)
            if sent.turn.is_set():
                await asyncio.shield(stop)
            raise
        finally:
            # A request that is still open stays so: it tells when the server has let go of the run.
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _stop(self, sent: _Sent) -> None:
        """Interrupts from a run's turn on until its request has returned, so that the next run does not meet this one.

        Until its turn, that would hit the run before it.
        """
        await sent.turn.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(INTERRUPT_GRACE):
                while not sent.request.done():
                    if self._interrupts_runs:
                        for other in self._line:
                            other.spoiled = other.spoiled or other is not sent
                        with suppress(TaskError):
                            reply = await self._interrupts.send("/sdapi/v1/interrupt", b"{}")
                            self._interrupts_runs = reply.status not in {404, 405}
                    await asyncio.wait({sent.request}, timeout=INTERRUPT_INTERVAL)
                await self._interrupts.settle()
                return
        sent.given_up = True
        log.warning("the runtime ignores the interrupt", seconds=INTERRUPT_GRACE)

    async def _wait_until_alone(self) -> None:
        """Returns once nothing that this agent has sent is at the server."""
        while self._line or self._stops:
            await asyncio.wait([*self._stops, *(sent.request for sent in self._line)])
            await asyncio.sleep(0)

    async def _watch(self, sent: _Sent, progress: Callable[[float], None]) -> None:
        """Reports progress until cancelled. It is a courtesy: what goes wrong here harms no run."""
        await sent.turn.wait()
        reported = 0.0
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            with suppress(TaskError, ValueError):
                reply = await self._server.request(
                    "GET", "/sdapi/v1/progress", params={"skip_current_image": "true"}, timeout=5.0, most=SMALL
                )
                document = await decode_json(reply.body)
                value = document.get("progress") if isinstance(document, dict) else None
                if reply.ok and isinstance(value, int | float) and value > reported:
                    reported = min(1.0, float(value))
                    progress(reported)

    def _holds(self, name: str) -> bool:
        """Tells whether the server is known to hold a checkpoint."""
        return self._current is not None and name in self._current.names

    async def _use(self, name: str) -> None:
        """Makes a checkpoint the current one.

        Raises:
            PermanentError: the server does not have it, or this runtime does not switch.
        """
        wanted = find_checkpoint(name, await self._checkpoints(refresh=False))
        if wanted is None:
            wanted = find_checkpoint(name, await self._checkpoints(refresh=True))
        current = await self._loaded()
        if wanted is None or (current and wanted.title != current and not self._dynamic_model):
            raise self._refusal(name, current)
        # A server that has just started loads its first checkpoint beside its API, or with the first run, and names
        # none before. Which one that was its answer tells.
        if wanted.title != current and self._dynamic_model:
            log.info("switching the checkpoint", now=current, to=wanted.title)
            if not await self._post("/sdapi/v1/options", {"sd_model_checkpoint": wanted.title}, SWITCH_TIMEOUT):
                raise PermanentError(
                    "wrong_checkpoint",
                    f"{TITLE} holds {current!r} and has no way to load {name!r}; start it with that one, and set "
                    "dynamicModel: false for this runtime",
                )
            if (loaded := await self._loaded()) != wanted.title:
                raise TransientError(
                    "checkpoint_not_loaded", f"{TITLE} took the switch to {wanted.title!r}, but holds {loaded!r}"
                )
        self._current = wanted

    def _refusal(self, name: str, current: str) -> PermanentError:
        if self._dynamic_model:
            return PermanentError(
                "unknown_checkpoint",
                f"{TITLE} does not have the checkpoint {name!r}; {describe_choice(name, self._known)}",
            )
        return PermanentError(
            "wrong_checkpoint",
            f"the request names the checkpoint {name!r}, but this runtime holds {current!r} and does not switch; "
            "send it to the runtime that holds it, or to one with dynamicModel: true",
        )

    async def _checkpoints(self, *, refresh: bool) -> list[Checkpoint]:
        if refresh and self._dynamic_model:
            await self._post("/sdapi/v1/refresh-checkpoints", {}, SWITCH_TIMEOUT)
        if refresh or not self._known:
            self._known = read_checkpoints(await self._get("/sdapi/v1/sd-models"))
        return self._known

    async def _loaded(self) -> str:
        """Returns the title of the checkpoint that the server holds; empty when it does not say."""
        options = await self._get("/sdapi/v1/options")
        title = options.get("sd_model_checkpoint") if isinstance(options, dict) else None
        if not isinstance(title, str):
            return ""
        # The hash joins the title when it is computed, which the first load does: the list may be from before that.
        match = find_checkpoint(title, self._known) or find_checkpoint(without_hash(title), self._known)
        return match.title if match else title

    async def _get(self, path: str) -> Any:
        reply = await self._server.request("GET", path)
        return await _ANSWERS.document(reply, path)

    async def _post(self, path: str, document: Any, seconds: float) -> bool:
        """Sends a command; returns whether there is such a one. What is answered besides differs: SD.Next says 204.

        Raises:
            TaskError: it fails.
        """
        reply = await self._server.request("POST", path, body=await encode_json(document), timeout=seconds)
        if reply.status in {404, 405}:
            return False
        if not 200 <= reply.status < 300:
            raise failure_of(reply.status, reply.body)
        return True


class _Sent:
    """A run's request, from its sending until its answer begins or its connection breaks."""

    def __init__(self, request: asyncio.Task[Opened], checkpoint: Checkpoint | None) -> None:
        self.request = request
        self.checkpoint = checkpoint
        """What the server held then; the next run may switch before this one's answer is here."""
        self.turn = asyncio.Event()
        """Set once nothing that was sent before is at the server."""
        self.spoiled = False
        """Whether an interrupt that was meant for another run may have hit this one."""
        self.given_up = False
        """Whether it was interrupted, and does not end."""


class _Arriving:
    """See `Arriving`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def read(self) -> Answer:
        """See `Arriving`."""
        answer, _ = await read_answer(await self._opened.read(TRANSFER_TIMEOUT))
        return answer

    def drop(self) -> None:
        """See `Arriving`."""
        self._opened.close()


def _check_model(name: str, held: Checkpoint | None, used: str | None) -> None:
    """Catches an answer made with another checkpoint than asked for.

    Raises:
        TransientError: it was.
    """
    if used is None or held is None or used in held.shown:
        return
    raise TransientError(
        "wrong_checkpoint_used", f"the request names the checkpoint {name!r}, but {TITLE} used {used!r}"
    )


def _close(request: asyncio.Task[Opened]) -> None:
    """Closes an answer that nobody waits for any more: an interrupted run's, with half-made images."""
    if not request.cancelled() and request.exception() is None:
        request.result().close()

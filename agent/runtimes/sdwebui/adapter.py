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
from agent.runtimes.base import Answer, Arriving, Prepared
from agent.runtimes.http import Interrupts, Opened, Reply, Server, look_at
from agent.runtimes.sdwebui.answer import read_answer
from agent.runtimes.sdwebui.checkpoints import Checkpoint, describe_choice, find_checkpoint, read_checkpoints
from agent.runtimes.sdwebui.failures import TITLE, failure_of
from agent.runtimes.sdwebui.links import localise
from agent.runtimes.sdwebui.request import GENERATING, ROUTES, request_body
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

log = structlog.get_logger(__name__)


class SdWebUi:
    """SD Web UI, which one agent drives alone: its interrupt and its progress name no request.

    Args:
        session: see `agent.runtimes.http.open_session`.
        base_url: where the server listens.
        inputs: fetches links.
        dynamic_model: whether a request may switch the checkpoint.
    """

    def __init__(
        self, session: aiohttp.ClientSession, base_url: str, inputs: InputSource, *, dynamic_model: bool
    ) -> None:
        self._server = Server(session, base_url, title=TITLE, ready_path="/sdapi/v1/options")
        self._inputs = inputs
        self._dynamic_model = dynamic_model
        self._request: asyncio.Task[Opened] | None = None
        self._interrupts = Interrupts(self._server)
        self._known: list[Checkpoint] = []
        self._current: Checkpoint | None = None

    @property
    def left_running(self) -> bool:
        """See `Runtime`. The server ends a run by answering its request, and an interrupt hits whatever runs then."""
        return self._request is not None or self._interrupts.pending

    async def wait_until_ready(self) -> None:
        """See `Runtime`. What was known of the server's checkpoints is forgotten: it may be another server now."""
        # A server that dies answers nothing, but its connections break: then these are over, too.
        while self._request is not None:
            await asyncio.wait({self._request})
            await asyncio.sleep(0)
        await self._interrupts.settle()
        self._known, self._current = [], None
        await self._server.wait_until_ready()

    async def is_alive(self) -> bool:
        """See `Runtime`."""
        return await self._server.is_alive()

    async def prepare(self, task_type: TaskType, content: dict[str, Any]) -> Prepared:
        """See `Runtime`. Links become base64."""
        request, checkpoint = request_body(task_type, content)
        body = await encode_json(await localise(request, self._inputs))
        return Prepared(task_type, {}, checkpoint if task_type in GENERATING else None, body)

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer | Arriving:
        """See `Runtime`. A large answer is on its way for a while after the server has let go of the run."""
        if self.left_running:
            raise RuntimeUnavailableError("runtime_busy", f"{TITLE} is still at a run that was given up")
        try:
            if prepared.checkpoint is not None:
                await self._use(prepared.checkpoint)
            opened = await self._generate(ROUTES[prepared.task_type], prepared.body, progress)
            if opened.ok and prepared.checkpoint is None and (opened.size or 0) > LARGE_ANSWER:
                return _Arriving(opened)
            answer, model = await read_answer(await opened.read(TRANSFER_TIMEOUT))
            if prepared.checkpoint is not None:
                self._check_model(prepared.checkpoint, model)
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
        """See `Runtime`. The routes are there only with `--api-server-stop`.

        `server-restart` answers 501 unless webui.sh started the server (SD_WEBUI_RESTART). `server-kill` ends it, and
        whoever keeps it running, such as the kubelet, starts it again.
        """
        for route in ("server-restart", "server-kill"):
            try:
                reply = await self._server.request("POST", f"/sdapi/v1/{route}", body=b"{}")
            except RuntimeUnavailableError:
                return True
            except TransientError as error:
                # It ends in the middle of the answer.
                return error.code == "connection_lost"
            if reply.ok:
                return True
            log.info("the runtime does not restart by itself", route=route, status=reply.status)
        return False

    async def close(self) -> None:
        """See `Runtime`. The session belongs to whoever opened it."""
        if self._request is not None:
            self._request.cancel()
            await asyncio.gather(self._request, return_exceptions=True)
        await self._interrupts.close()

    async def _generate(self, path: str, body: bytes, progress: Callable[[float], None]) -> Opened:
        """Sends the run's request and waits for its answer to begin, as long as the pipeline lets it."""
        request = asyncio.create_task(self._server.open("POST", path, body=body))
        self._request = request
        request.add_done_callback(self._ended)
        watch = asyncio.create_task(self._watch(progress))
        try:
            # Shielded: a cancellation must not close the connection, or the server would go on unseen.
            return await asyncio.shield(request)
        except asyncio.CancelledError:
            request.add_done_callback(_close)
            await self._stop(request)
            raise
        finally:
            # A request that is still open stays so: it tells when the server has let go of the run.
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    def _ended(self, request: asyncio.Task[Opened]) -> None:
        if self._request is request:
            self._request = None
        look_at(request)

    async def _stop(self, request: asyncio.Task[Opened]) -> None:
        """Interrupts until the request has returned, so that the next run does not meet this one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(INTERRUPT_GRACE):
                while not request.done():
                    with suppress(TaskError):
                        await self._interrupts.send("/sdapi/v1/interrupt", b"{}")
                    await asyncio.wait({request}, timeout=INTERRUPT_INTERVAL)
                await self._interrupts.settle()
                return
        log.warning("the runtime ignores the interrupt", seconds=INTERRUPT_GRACE)

    async def _watch(self, progress: Callable[[float], None]) -> None:
        """Reports progress until cancelled. It is a courtesy: what goes wrong here harms no run."""
        reported = 0.0
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            with suppress(TaskError, ValueError):
                reply = await self._server.request(
                    "GET", "/sdapi/v1/progress", params={"skip_current_image": "true"}, timeout=5.0
                )
                document = await decode_json(reply.body)
                value = document.get("progress") if isinstance(document, dict) else None
                if reply.ok and isinstance(value, int | float) and value > reported:
                    reported = min(1.0, float(value))
                    progress(reported)

    async def _use(self, name: str) -> None:
        """Makes a checkpoint the current one.

        Raises:
            PermanentError: the server does not have it, or this runtime does not switch.
        """
        if self._current is not None and name in self._current.names:
            return
        wanted = find_checkpoint(name, await self._checkpoints(refresh=False))
        if wanted is None and self._dynamic_model:
            wanted = find_checkpoint(name, await self._checkpoints(refresh=True))
        current = await self._loaded()
        if wanted is None or (wanted.title != current and not self._dynamic_model):
            raise self._refusal(name, current)
        if wanted.title != current:
            log.info("switching the checkpoint", now=current, to=wanted.title)
            await self._post("/sdapi/v1/options", {"sd_model_checkpoint": wanted.title}, SWITCH_TIMEOUT)
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
        if refresh:
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
        # The hash joins the title when it is computed, so the two lists may differ in it.
        match = find_checkpoint(title, self._known)
        return match.title if match else title

    def _check_model(self, name: str, used: str | None) -> None:
        """Catches an answer made with another checkpoint than asked for.

        Raises:
            TransientError: it was.
        """
        if used is None or self._current is None or used in self._current.shown:
            return
        raise TransientError(
            "wrong_checkpoint_used", f"the request names the checkpoint {name!r}, but {TITLE} used {used!r}"
        )

    async def _get(self, path: str) -> Any:
        reply = await self._server.request("GET", path)
        return await self._document(reply, path)

    async def _post(self, path: str, document: Any, seconds: float) -> Any:
        reply = await self._server.request("POST", path, body=await encode_json(document), timeout=seconds)
        return await self._document(reply, path)

    async def _document(self, reply: Reply, path: str) -> Any:
        if not reply.ok:
            raise failure_of(reply.status, reply.body)
        try:
            return await decode_json(reply.body)
        except ValueError as error:
            raise TransientError("garbage_answer", f"{TITLE} answered {path} with something that is no JSON") from error


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


def _close(request: asyncio.Task[Opened]) -> None:
    """Closes an answer that nobody waits for any more: an interrupted run's, with half-made images."""
    if not request.cancelled() and request.exception() is None:
        request.result().close()

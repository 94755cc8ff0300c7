"""Runs tasks on a runtime of one's own: one long request each, watched and stopped by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import structlog

from agent.documents import encode_json, json_object
from agent.errors import RuntimeUnavailableError, TaskError
from agent.inputs import InputSource
from agent.runtimes.base import Answer, Prepared
from agent.runtimes.http import SMALL, Reply, Server, look_at
from agent.runtimes.http_runtime.answer import TITLE, failure_of, read_answer
from agent.runtimes.http_runtime.environment import read_environment
from agent.runtimes.sdwebui.links import localise
from contract.environment import Lock
from contract.inputs import NO_RULES, InputRules
from contract.task import TaskType

PROGRESS_INTERVAL: Final = 1.0
"""Seconds between two looks at a run's progress."""

CANCEL_GRACE: Final = 10.0
"""Seconds that a cancelled run may still take."""

CANCEL_INTERVAL: Final = 0.5
"""Seconds between two requests to stop a run, the answer of which tells whether it is still there."""

RUN_PREFIX: Final = "darkroom-agent-"
"""How the ids of all agents' runs begin towards the server."""

log = structlog.get_logger(__name__)


class HttpRuntime:
    """A server that speaks the contract of `type: http`.

    Args:
        session: see `agent.runtimes.http.open_session`.
        base_url: where the server listens.
        inputs: fetches links.
        most_bytes: of one answer.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, inputs: InputSource, *, most_bytes: int) -> None:
        self._server = Server(
            session, base_url, title=TITLE, ready_path="/health", is_ready=_says_ready, most_bytes=most_bytes
        )
        self._inputs = inputs
        self._request: asyncio.Task[Reply] | None = None
        self._left: tuple[str, asyncio.Task[Reply]] | None = None
        """Path and request of a run that was given up, until the server has let go of it."""
        self._met = False

    @property
    def left_running(self) -> bool:
        """See `Runtime`."""
        return self._left is not None

    async def wait_until_ready(self) -> None:
        """See `Runtime`. The run that was given up is asked to stop, again and again, until it is gone."""
        await self._server.wait_until_ready()
        if not self._met:
            self._met = True
            await self._end_orphans()
        while self._left is not None:
            try:
                if await self._stop_once(*self._left):
                    await asyncio.sleep(CANCEL_INTERVAL)
                else:
                    self._left = None
            except TaskError:
                await asyncio.sleep(CANCEL_INTERVAL)
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
        """See `Runtime`. Links become base64; what is in the content besides is the runtime's own affair."""
        localised = await localise(content, self._inputs, tenant=tenant, rules=rules)
        return Prepared(task_type, {}, body=await encode_json({"type": task_type.value, "content": localised}))

    async def run(self, prepared: Prepared, *, run_id: str, progress: Callable[[float], None]) -> Answer:
        """See `Runtime`."""
        if self.left_running:
            raise RuntimeUnavailableError("runtime_busy", f"{TITLE} is still at a run that was given up")
        path = _path(f"{RUN_PREFIX}{run_id}")
        request = asyncio.create_task(self._server.request("POST", path, body=prepared.body, timeout=None))
        self._request = request
        request.add_done_callback(look_at)
        watch = asyncio.create_task(self._watch(path, progress))
        try:
            # Shielded: a cancellation must not close the connection before the run is stopped.
            reply = await asyncio.shield(request)
        except (asyncio.CancelledError, TaskError) as error:
            # Not after a death: there is nothing left to stop.
            if not isinstance(error, RuntimeUnavailableError):
                await self._stop(path, request)
            raise
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if not reply.ok:
            raise failure_of(reply.status, reply.body)
        return await read_answer(reply.body)

    async def resident_bytes(self) -> int | None:
        """See `Runtime`. The answer of `/health` may tell it."""
        reply = await self._server.request("GET", "/health", most=SMALL)
        used = json_object(reply.body).get("resident_bytes")
        return used if isinstance(used, int) else None

    async def restart(self) -> bool:
        """See `Runtime`. The contract has no route for it."""
        return False

    async def close(self) -> None:
        """See `Runtime`. The session belongs to whoever opened it."""
        if self._request is not None:
            self._request.cancel()
            await asyncio.gather(self._request, return_exceptions=True)

    async def _watch(self, path: str, progress: Callable[[float], None]) -> None:
        """Reports progress until cancelled. It is a courtesy: what goes wrong here harms no run."""
        reported = 0.0
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL)
            with suppress(TaskError):
                reply = await self._server.request("GET", path, timeout=5.0, most=SMALL)
                value = json_object(reply.body).get("progress") if reply.ok else None
                if isinstance(value, int | float) and value > reported:
                    reported = min(1.0, float(value))
                    progress(reported)

    async def _stop(self, path: str, request: asyncio.Task[Reply]) -> None:
        """Stops the run, and waits until the server has let go of it, so that the next one does not meet it."""
        self._left = path, request
        with suppress(TimeoutError, TaskError):
            async with asyncio.timeout(CANCEL_GRACE):
                while await self._stop_once(path, request):  # noqa: ASYNC110 - the answer is how the server tells
                    await asyncio.sleep(CANCEL_INTERVAL)
                self._left = None
                return
        log.warning("the run could not be stopped", path=path)

    async def _stop_once(self, path: str, request: asyncio.Task[Reply]) -> bool:
        """Asks the server to stop the run; returns whether it was still there, or is still to come.

        A server that has not read all of the request yet knows no such run, and begins it a moment later.
        """
        reply = await self._server.request("DELETE", path)
        return reply.status != 404 or not request.done()

    async def _end_orphans(self) -> None:
        """Stops the runs that agents before this one have left when they died: nobody waits for their answers.

        Runs of others are left alone. A server that does not list its runs cannot be asked for them.
        """
        with suppress(TimeoutError, TaskError):
            async with asyncio.timeout(CANCEL_GRACE):
                while orphans := [run for run in await self._list_runs() if run.startswith(RUN_PREFIX)]:
                    log.warning("stopping what another agent has left", runs=len(orphans))
                    for run in orphans:
                        await self._server.request("DELETE", _path(run))
                    await asyncio.sleep(CANCEL_INTERVAL)

    async def _list_runs(self) -> list[str]:
        reply = await self._server.request("GET", "/runs", most=SMALL)
        runs = json_object(reply.body).get("runs") if reply.ok else None
        return [run for run in runs if isinstance(run, str)] if isinstance(runs, list) else []


def _says_ready(body: bytes) -> bool:
    return json_object(body).get("status") == "ready"


def _path(name: str) -> str:
    return f"/runs/{quote(name, safe='')}"

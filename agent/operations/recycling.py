"""Asks for a restart of the runtime between two tasks: after so many, above so much memory, or when it is stuck.

An agent cannot restart its runtime by ending: in Kubernetes that restarts the agent's container alone. So the operator
says who does it (`RECYCLE_BY`):

- `exit`: the agent hands back what it has not started, ends, and says by its exit status that it wants a new runtime.
  `local/harness` understands that, and so does a container restart rule with `RestartAllContainers`.
- `api`: the server is asked to restart: SD Web UI with `--api-server-stop`, ComfyUI with ComfyUI-Manager. A server that
  ends is started again by whoever keeps it running, such as the kubelet its sidecars.
- `probe`: a file is there, and `/runtimez` answers 503, until the runtime has gone. A liveness probe of the *runtime's*
  container that looks for the file lets the kubelet restart the runtime, without any permission. The file is better: an
  agent that is away for a while does not answer, and a probe that cannot tell the two apart has to be slow.

No task is lost by any of them: nothing runs at that time, and what was received already goes back to the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from agent.errors import TaskError
from agent.operations.process_memory import listener_of, local_port, resident_bytes
from agent.runtimes.base import Runtime

log = structlog.get_logger()

GONE_WITHIN: Final = 180.0
"""Seconds in which a runtime that was asked to restart must go away; the kubelet's liveness probes take their time."""

POLL: Final = 0.25
"""Seconds between two looks whether it has gone."""


class RecycleBy(StrEnum):
    """Who restarts the runtime."""

    NOBODY = "nobody"
    EXIT = "exit"
    API = "api"
    PROBE = "probe"


@dataclass(frozen=True)
class Limits:
    """When a runtime is to be restarted; 0 is never."""

    tasks: int = 0
    resident_bytes: int = 0
    stuck_after: float = 120.0
    """Seconds that it may go on with a run that was interrupted."""


def due(limits: Limits, *, tasks: int, resident: int | None) -> str:
    """Returns why a runtime is to be restarted now; empty when it is not.

    Args:
        limits: of the operator.
        tasks: runs since its start. At least one must have been made, whatever the limit: a runtime that needs more
            memory than allowed from its start would otherwise never do anything.
        resident: bytes that it takes, as far as is known.
    """
    if tasks < 1:
        return ""
    if limits.tasks and tasks >= limits.tasks:
        return f"it has run {tasks} tasks (RECYCLE_AFTER_TASKS={limits.tasks})"
    if limits.resident_bytes and resident is not None and resident > limits.resident_bytes:
        return f"it takes {resident} bytes of memory (RECYCLE_ABOVE_RSS_BYTES={limits.resident_bytes})"
    return ""


class Recycling:
    """Counts, measures, and asks.

    Args:
        by: who restarts the runtime.
        limits: when.
        measure: returns the runtime's resident bytes, if they can be seen.
        mark: the file that a probe looks for; None: there is none.
    """

    def __init__(
        self,
        by: RecycleBy,
        limits: Limits,
        measure: Callable[[], Awaitable[int | None]],
        mark: Path | None = None,
    ) -> None:
        self._by = by
        self._limits = limits
        self._measure = measure
        self._mark = mark if by is RecycleBy.PROBE else None
        # An agent that was killed may have left it, and the next runtime would be ended as well.
        self._set_mark(wanted=False)
        self._tasks = 0
        self._resident: int | None = None
        self._blind = False
        self.reason = ""
        """Why a restart is wanted; empty: none is."""
        self.exiting = False
        """Whether the agent is to end with the status that asks for a restart of its runtime."""

    @property
    def stuck_after(self) -> float | None:
        """Seconds after which a runtime that is still at an interrupted run is to be restarted; None: never."""
        return None if self._by is RecycleBy.NOBODY else self._limits.stuck_after

    @property
    def is_asked_by_probe(self) -> bool:
        """Whether the runtime's liveness probe is to fail."""
        return self._by is RecycleBy.PROBE and bool(self.reason)

    @property
    def resident(self) -> int | None:
        """The runtime's resident bytes when last measured."""
        return self._resident

    def note_start(self) -> None:
        """Says that the runtime is up, and perhaps another process."""
        self._tasks, self._resident = 0, None
        self._set_mark(wanted=False)

    def note_run(self) -> None:
        """Says that a task's run has ended, one way or other."""
        self._tasks += 1

    async def look(self) -> None:
        """Measures the memory, if there is a limit."""
        if not self._limits.resident_bytes:
            return
        try:
            self._resident = await self._measure()
        except TaskError as error:
            log.debug("memory_not_measured", error=error.message)
            return
        if self._resident is None and not self._blind:
            self._blind = True
            log.warning(
                "memory_cannot_be_seen",
                setting="RECYCLE_ABOVE_RSS_BYTES",
                way_out="use a runtime that tells (SD Web UI, the project's image of ComfyUI), or RECYCLE_AFTER_TASKS",
            )

    def judge(self) -> bool:
        """Decides, between two tasks, whether a restart is wanted now."""
        if self._by is RecycleBy.NOBODY or self.reason:
            return bool(self.reason)
        self.reason = due(self._limits, tasks=self._tasks, resident=self._resident)
        return bool(self.reason)

    def want(self, reason: str) -> None:
        """Says that a restart is wanted."""
        if self._by is not RecycleBy.NOBODY:
            self.reason = reason

    async def restart(self, runtime: Runtime, end: Callable[[], None]) -> None:
        """Asks for the restart that is wanted, and returns when the runtime has gone, or does not go.

        Args:
            runtime: nothing that counts runs on it.
            end: ends the agent.
        """
        log.warning("runtime_restart_wanted", by=self._by, reason=self.reason)
        self._set_mark(wanted=True)
        if self._by is RecycleBy.API and not await self._ask(runtime):
            log.error(
                "runtime_not_restarted",
                way_out="start SD Web UI with --api-server-stop, ComfyUI with ComfyUI-Manager; or set RECYCLE_BY",
            )
        elif self._by is RecycleBy.EXIT:
            self.exiting = True
            end()
            # The drain, which has been called for, ends this wait.
            await asyncio.get_running_loop().create_future()
        elif await self._has_gone(runtime):
            log.info("runtime_has_gone")
        else:
            log.error("runtime_not_restarted", seconds=GONE_WITHIN, by=self._by)
        # Counted anew, gone or not: tasks must not wait for ever for somebody who does not come.
        self.reason = ""
        self.note_start()

    def _set_mark(self, *, wanted: bool) -> None:
        if self._mark is None:
            return
        try:
            if wanted:
                self._mark.touch()
            else:
                self._mark.unlink(missing_ok=True)
        except OSError as error:
            log.warning("restart_cannot_be_asked_for", setting="RECYCLE_FILE", error=str(error))

    async def _ask(self, runtime: Runtime) -> bool:
        try:
            return await runtime.restart()
        except TaskError as error:
            log.warning("runtime_restart_failed", error=error.message)
            return False

    async def _has_gone(self, runtime: Runtime) -> bool:
        try:
            async with asyncio.timeout(GONE_WITHIN):
                while await runtime.is_alive():  # noqa: ASYNC110 - another process's state
                    await asyncio.sleep(POLL)
        except TimeoutError:
            return False
        return True


class RuntimeMemory:
    """Measures the runtime's resident set: by `/proc` where its process can be seen, else by its own account.

    Args:
        runtime: may tell itself.
        url: where it listens.
    """

    def __init__(self, runtime: Runtime, url: str) -> None:
        self._runtime = runtime
        self._port = local_port(url)
        self._pid: int | None = None

    async def __call__(self) -> int | None:
        """Returns bytes, or None when nobody tells.

        Raises:
            TaskError: the runtime does not answer.
        """
        if self._port is not None:
            found = resident_bytes(self._pid) if self._pid is not None else None
            if found is None:
                self._pid = await asyncio.to_thread(listener_of, self._port)
                found = resident_bytes(self._pid) if self._pid is not None else None
            if found is not None:
                return found
        return await self._runtime.resident_bytes()

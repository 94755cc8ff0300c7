"""Follows the runtime: waits for it, warms it, looks after it while it is idle, and has it restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from agent.errors import RuntimeUnavailableError, TaskError
from agent.operations.recycling import Recycling
from agent.operations.warm_up import WarmUp
from agent.runtimes.base import Runtime
from agent.turns import Turns

log = structlog.get_logger()

ALIVE_INTERVAL: Final = 5.0
"""Seconds between two looks at an idle runtime."""


class RuntimeFollower:
    """Says whether the runtime may get work.

    Args:
        runtime: whom to follow.
        turns: the runs at it.
        warm_up: its first prompt.
        recycling: says when it is to be restarted, and does it.
        changed: called whenever it comes, is being warmed, or goes.
        came: called when it has come, and may be another process than before.
        end: ends the agent as a signal does.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        turns: Turns,
        warm_up: WarmUp,
        recycling: Recycling,
        changed: Callable[[], None],
        came: Callable[[], None],
        end: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._turns = turns
        self._warm_up = warm_up
        self._recycling = recycling
        self._changed = changed
        self._came = came
        self._end = end
        self._down = asyncio.Event()
        self._is_new = True
        self._error = ""
        self.up = asyncio.Event()
        """Set while the runtime may get work."""
        self.warming = False
        """Whether it is at its first prompt."""

    @property
    def reason(self) -> str:
        """Why the runtime may not get work, as far as is known."""
        return self._recycling.reason or self._error

    async def run(self) -> None:
        """Opens the pipeline while the runtime is there."""
        while True:
            # What is still there tells by itself how it ends; a restart would end it.
            await self._turns.wait_until_none()
            if self._recycling.reason:
                await self._recycling.restart(self._runtime, self._end)
                self._is_new = True
            if not await self._is_made_ready():
                continue
            log.info("runtime_ready")
            self._down.clear()
            self.up.set()
            self._changed()
            while self.up.is_set():
                try:
                    async with asyncio.timeout(ALIVE_INTERVAL):
                        await self._down.wait()
                except TimeoutError:
                    await self.look()

    def lose(self, reason: str, *, gone: bool = True) -> None:
        """Closes the pipeline until the runtime is back.

        Args:
            reason: what to say.
            gone: whether another process will be there then.
        """
        if not self.up.is_set():
            return
        log.warning("runtime_lost", reason=reason)
        self._error = reason
        self._is_new = gone
        self.up.clear()
        self._down.set()
        self._changed()

    async def look(self) -> None:
        """Looks once whether an idle runtime still answers, and how much memory it takes."""
        await self._recycling.look()
        if self._turns:
            return
        alive = await self._is_alive()
        if not self._turns:  # one that has begun meanwhile tells by itself
            if not alive:
                self.lose("it does not answer")
            elif self._recycling.judge():
                self.lose(self._recycling.reason)

    async def _is_made_ready(self) -> bool:
        """Waits until the runtime is up, and warms it; returns False when it is to be restarted, or is lost again."""
        # A runtime that is not there is waited for as long as it takes: somebody starts it. One that does not let go of
        # a run that was given up is not made better by waiting.
        patience = self._recycling.stuck_after if self._runtime.left_running else None
        try:
            async with asyncio.timeout(patience):
                await self._runtime.wait_until_ready()
        except TimeoutError:
            self._recycling.want(f"it has not ended an interrupted run within {patience:g} s")
            return False
        if not self._is_new:
            return True
        self._recycling.note_start()
        self._is_new = False
        self._came()
        if not self._warm_up.wanted:
            return True
        self.warming = True
        self._changed()
        try:
            await self._warm_up.run(self._runtime)
        except RuntimeUnavailableError as error:
            self._error, self._is_new = error.message, True
            return False
        finally:
            self.warming = False
            self._changed()
        return not self._runtime.left_running

    async def _is_alive(self) -> bool:
        try:
            async with asyncio.timeout(ALIVE_INTERVAL):
                return await self._runtime.is_alive()
        except (TimeoutError, TaskError, OSError):
            return False

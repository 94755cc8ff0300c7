"""The first prompt of a runtime, which loads its model before anybody's task waits for it."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError
from agent.runtimes.base import Answer, Arriving, Runtime
from contract.task import TaskType

log = structlog.get_logger()

TRIES: Final = 3
"""Attempts at a warm-up that may pass when it is repeated."""

RETRY_PAUSE: Final = 1.0
"""Seconds between two of them."""

STOP_TIMEOUT: Final = 15.0
"""Seconds that the runtime has to end a warm-up that took too long."""

DRAIN_STOP_TIMEOUT: Final = 2.0
"""The same when the agent ends."""


class WarmUpRequest(BaseModel):
    """A task's content without a task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasktype: TaskType
    content: dict[str, Any] = Field(min_length=1)


def read_warm_up(value: str) -> WarmUpRequest:
    """Reads the setting: JSON, or the path of a file that holds it.

    Raises:
        ValueError: it is neither; the text says what is wrong.
    """
    text = value.strip()
    if not text.startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ValueError(f"neither JSON nor a file that can be read ({reason})") from error
    try:
        return WarmUpRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(
            f'{place + ": " if place else ""}{first["msg"]}; write {{"tasktype": "text-to-image", "content": {{…}}}}'
        ) from error


class WarmUpState(StrEnum):
    """How the latest warm-up stands."""

    NONE = "none"
    """None is asked for, or none has begun."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class WarmUp:
    """Runs the first prompt on a runtime that has just come up.

    A warm-up that fails is said, and then tasks are received all the same: it may be the prompt that is wrong, and a
    runtime that is really broken shows in the tasks, which are retried elsewhere. Waiting for a prompt that never works
    would take a GPU out of service without anybody having asked for anything.

    Args:
        request: the prompt; None: there is nothing to do.
        timeout: seconds that it may take, loading the model included.
    """

    def __init__(self, request: WarmUpRequest | None, *, timeout: float) -> None:
        self._request = request
        self._timeout = timeout
        self.state = WarmUpState.NONE
        self.error = ""
        """Why it failed."""
        self._deaths = 0
        self.seconds = 0.0
        """How long the latest one took."""

    @property
    def wanted(self) -> bool:
        """Whether there is a prompt to run."""
        return self._request is not None

    async def run(self, runtime: Runtime) -> None:
        """Runs the prompt, a few times if need be; returns when it is done or given up.

        A prompt that has killed so many runtimes in a row is left out from then on.

        Raises:
            RuntimeUnavailableError: the runtime went away; once it is back, it is to be warmed again.
        """
        if self._request is None:
            return
        if self._deaths >= TRIES:
            log.warning("warm_up_given_up", deaths=self._deaths, error=self.error)
            return
        self.state, self.error, began = WarmUpState.RUNNING, "", time.monotonic()
        try:
            for number in range(1, TRIES + 1):
                try:
                    await self._try(self._request, runtime)
                except RuntimeUnavailableError:
                    raise
                except (TaskError, TimeoutError) as error:
                    self.error = self._describe(error)
                    log.warning("warm_up_failed", tries=number, error=self.error)
                    if isinstance(error, PermanentError | TimeoutError) or runtime.left_running:
                        break
                    await asyncio.sleep(RETRY_PAUSE)
                else:
                    self.state, self.error, self._deaths = WarmUpState.DONE, "", 0
                    log.info("warmed_up", seconds=round(time.monotonic() - began, 3))
                    return
            self.state = WarmUpState.FAILED
        except RuntimeUnavailableError as error:
            self.state, self.error = WarmUpState.FAILED, self._describe(error)
            self._deaths += 1
            log.warning("warm_up_failed", error=self.error)
            raise
        finally:
            self.seconds = time.monotonic() - began

    async def _try(self, request: WarmUpRequest, runtime: Runtime) -> None:
        """Runs the prompt once.

        Raises:
            TimeoutError: it took too long, and was interrupted.
            TaskError: it failed.
        """
        async with asyncio.timeout(self._timeout):
            prepared = await runtime.prepare(request.tasktype, request.content)
        run = asyncio.create_task(runtime.run(prepared, run_id="warm-up", progress=lambda _: None))
        try:
            await asyncio.wait({run}, timeout=self._timeout)
        except asyncio.CancelledError:
            await _stop(run, DRAIN_STOP_TIMEOUT)
            raise
        if not run.done():
            await _stop(run, STOP_TIMEOUT)
            raise TimeoutError
        result = run.result()
        if not isinstance(result, Answer):
            await result.read()

    def _describe(self, error: BaseException) -> str:
        if isinstance(error, TaskError):
            return error.message
        return f"it took longer than {self._timeout:g} s and was interrupted"


async def _stop(run: asyncio.Task[Answer | Arriving], seconds: float) -> None:
    run.cancel()
    await asyncio.wait({run}, timeout=seconds)

"""Runs one prepared task on the runtime until it ends or something ends it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from agent.completion import Completion
from agent.errors import RuntimeUnavailableError
from agent.holdings import Held, Interruption
from agent.operations.metrics import Metrics
from agent.operations.telemetry import Tracer
from agent.outcomes import Answering, HandedBack, Outcome, Raised
from agent.pace import LOOKAHEAD
from agent.run_outcome import after_interruption, drop, outcome_of
from agent.runtimes.base import Answer, Arriving, Runtime
from agent.turns import Turn

log = structlog.get_logger()

INTERRUPT_TIMEOUT: Final = 15.0
"""Seconds that a runtime has to end an interrupted run before the agent goes on without it."""

DRAIN_INTERRUPT_TIMEOUT: Final = 2.0
"""The same when this agent ends: who started it does not wait much longer than the grace period."""

HEAD_START: Final = 0.005
"""Seconds by which a run's request to the runtime goes before any call to AWS that becomes due at the same moment:
signing and sending those takes this process's time, and the GPU would wait for it."""


class Running:
    """The stage at the runtime.

    Args:
        runtime: where tasks run.
        completion: writes the start of an attempt.
        metrics: gets the seconds of each run.
        tracer: gets a span of each run.
        task_timeout: seconds that a run may take from its turn on.
        is_draining: tells whether this agent ends.
        took_long: called when a run takes longer than work is made ready for.
        stuck: called when a run does not end although it was interrupted.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        completion: Completion,
        metrics: Metrics,
        tracer: Tracer,
        task_timeout: float,
        is_draining: Callable[[], bool],
        took_long: Callable[[], None],
        stuck: Callable[[], None],
    ) -> None:
        self._runtime = runtime
        self._completion = completion
        self._metrics = metrics
        self._tracer = tracer
        self._task_timeout = task_timeout
        self._is_draining = is_draining
        self._took_long = took_long
        self._stuck = stuck

    async def run(self, held: Held, turn: Turn) -> Outcome | Answering:
        """Runs one task; the write of its start goes on beside it.

        Its time, which is that of its outcome and of `task_timeout`, counts from its turn.
        """
        if held.prepared is None:
            raise RuntimeError("a task must be prepared before it runs")
        held.interruption = asyncio.get_running_loop().create_future()
        held.starting = asyncio.create_task(self._start(held))
        log.info("run_started", type=held.metadata.tasktype)
        with self._tracer.span("run", held.trace, task_id=held.metadata.id, **held.described) as span:
            run = asyncio.create_task(
                self._runtime.run(
                    held.prepared,
                    run_id=f"{held.submission_id}-{held.submission.attempts + 1}",
                    progress=held.note_progress,
                )
            )
            either: list[asyncio.Future[Any]] = [run, held.interruption]
            try:
                if not turn.came.done():
                    await asyncio.wait([*either, turn.came], return_when=asyncio.FIRST_COMPLETED)
                began = time.monotonic()
                if turn.came.done():
                    held.enter_gpu()
                too_long = asyncio.get_running_loop().call_later(2 * LOOKAHEAD, self._took_long)
                await asyncio.wait(either, timeout=self._task_timeout, return_when=asyncio.FIRST_COMPLETED)
                too_long.cancel()
                seconds = time.monotonic() - began
                self._metrics.phases.labels("run").observe(seconds)
                if run.done():
                    held.leave_gpu()
                    return _told(span, _blamed(outcome_of(run, seconds), turn))
                held.interrupt(Interruption.TIMEOUT)  # without effect when something else came first
                reason = held.interruption.result()
                await self._stop(run, reason)
                # Whatever it returned is not looked at: an interrupted SD Web UI answers 200 with a half-made image.
                drop(run)
                return _told(span, after_interruption(reason, self._task_timeout))
            finally:
                run.cancel()
                held.leave_gpu()

    async def _start(self, held: Held) -> None:
        await asyncio.sleep(HEAD_START)
        try:
            await self._completion.start(held)
        except Exception:
            # Nothing that the run makes could be recorded; completing it meets this error, and says it.
            held.interrupt(Interruption.OVERTAKEN)
            raise
        if held.refused is not None:
            log.info("start_refused", error=str(held.refused))
            held.interrupt(Interruption.OVERTAKEN)

    async def _stop(self, run: asyncio.Task[Answer | Arriving], reason: Interruption) -> None:
        log.info("run_interrupted", reason=reason)
        run.cancel()
        await asyncio.wait({run}, timeout=DRAIN_INTERRUPT_TIMEOUT if self._is_draining() else INTERRUPT_TIMEOUT)
        if not run.done():
            self._stuck()


def _told[O: Outcome | Answering](span: Any, outcome: O) -> O:
    """Returns the outcome, after its span was told of an error; None: there are no spans."""
    if span is not None and isinstance(outcome, Raised):
        span.set_attribute("error.type", outcome.error.code)
    return outcome


def _blamed(outcome: Outcome | Answering, turn: Turn) -> Outcome | Answering:
    """Returns the outcome, without the blame if the server went away before the run's turn."""
    if isinstance(outcome, Raised) and isinstance(outcome.error, RuntimeUnavailableError) and turn.is_innocent():
        return HandedBack()
    return outcome

"""Says what a run came to: ended by itself, answering still, failed, or interrupted."""

from __future__ import annotations

import asyncio

import structlog

from agent.errors import PermanentError, TaskError, TransientError
from agent.holdings import Interruption
from agent.outcomes import Abandoned, Answered, Answering, Cancelled, HandedBack, Outcome, Raised
from agent.runtimes.base import Answer, Arriving

log = structlog.get_logger()


def outcome_of(run: asyncio.Task[Answer | Arriving], seconds: float) -> Outcome | Answering:
    """Returns what a run that ended by itself came to."""
    error = asyncio.CancelledError() if run.cancelled() else run.exception()
    if error is not None:
        return _raised(error)
    result = run.result()
    return Answered(result, seconds) if isinstance(result, Answer) else Answering(result, seconds)


async def arrived(answering: Answering) -> Outcome:
    """Reads the rest of an answer; whatever goes wrong is the outcome."""
    try:
        return Answered(await answering.arriving.read(), answering.seconds)
    except Exception as error:  # noqa: BLE001 - as in a run
        return _raised(error)


def _raised(error: BaseException) -> Raised:
    if isinstance(error, TaskError):
        # Without its traceback, whose frames hold the answer that was no good.
        return Raised(type(error)(error.code, error.message))
    log.error("run_failed", exc_info=error)
    return Raised(internal_error())


def drop(run: asyncio.Task[Answer | Arriving]) -> None:
    """Lets go of an answer that an interrupted run has given all the same."""
    if run.done() and not run.cancelled() and run.exception() is None:
        result = run.result()
        if not isinstance(result, Answer):
            result.drop()


def internal_error() -> TransientError:
    """Returns what a task is told of a fault of the agent's own."""
    return TransientError("internal_error", "the agent failed at this task; its log says why")


def after_interruption(reason: Interruption, timeout: float) -> Outcome:
    """Returns what a run that was interrupted comes to."""
    match reason:
        case Interruption.CANCEL:
            return Cancelled()
        case Interruption.TIMEOUT:
            return Raised(PermanentError("timed_out", f"the run took longer than {timeout:g} s and was interrupted"))
        case Interruption.DRAIN | Interruption.WITHDRAWN:
            return HandedBack()
        case Interruption.OVERTAKEN:
            return Abandoned()

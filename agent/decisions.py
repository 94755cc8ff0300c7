"""Decides what becomes of a message, of an attempt and of an error; pure functions, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from agent.errors import PermanentError, RuntimeUnavailableError, TaskError
from contract.record import (
    AlreadyEndedError,
    Failure,
    NotHolderError,
    Record,
    Status,
    Submission,
    TransitionError,
    start,
)
from contract.runtimes import KINDS
from contract.task import RuntimeType, TaskType
from contract.topology import MAX_ATTEMPTS, MAX_RECEIVE_COUNT

RETRY_BASE: Final = 2.0
"""Seconds before the second attempt; doubled for each further one."""

RETRY_CAP: Final = 300.0
"""Seconds; the longest delay. A person waits at the other end."""

MAX_EXCUSES_FOR_CRASHES: Final = 10
"""Excused attempts after which a runtime that dies in mid-task is no excuse any more: a task that kills every runtime
it meets must end at some time."""

LONGEST_DEFERRAL: Final = 3600
"""Seconds for which a second copy is put off at most, unless the visibility timeout is longer."""

LAST_RECEIVES: Final = 5
"""Receives before SQS itself would dead-letter a message, without a callback: from here on an agent ends the task. Only
a message that kills its agents before its run is noted, or that never finds a runtime, comes as far as this."""


class Arrival(StrEnum):
    """What a received message calls for."""

    RUN = "run"
    SETTLE = "settle"
    """It has ended: publish its callback again where needed, and delete the message."""
    CANCEL = "cancel"
    """A cancel was asked for and its holder is gone: end it as cancelled."""
    EXHAUST = "exhaust"
    """Its attempts are used up (its agents died), or soon its receives: it fails for good."""
    EXPIRE = "expire"
    """It was to begin by now."""
    DEFER = "defer"
    """A second copy of a task that another agent has: look again later."""


def on_arrival(submission: Submission, *, receive_count: int, message: str, now: datetime) -> Arrival:
    """Returns what to do with a received message whose submission stands as given.

    A task's message comes again when the agent that had it has died, frozen, or handed it back. A second copy of it
    (sent twice, or delivered twice) says nothing of that agent: it waits until the task has ended, or has no holder.

    Args:
        submission: as the record has it.
        receive_count: how often the message was received, this time included. One that is received for the first time,
            of a task that has a holder already, is a second copy: the holder's was received before.
        message: its id in SQS, by which the holder's own message is known.
        now: this agent's time.
    """
    if submission.status.terminal:
        return Arrival.SETTLE
    is_last = receive_count > MAX_RECEIVE_COUNT - LAST_RECEIVES
    is_copy = receive_count <= 1 or submission.message not in {"", message}
    if submission.holder is not None and is_copy and not is_last:
        return Arrival.DEFER
    if submission.status is Status.CANCELLING:
        return Arrival.CANCEL
    if submission.is_too_late(now):
        return Arrival.EXPIRE
    if submission.blamed >= MAX_ATTEMPTS or is_last:
        return Arrival.EXHAUST
    return Arrival.RUN


def deferral(receive_count: int, visibility_timeout: int) -> int:
    """Returns seconds until a second copy is looked at again: longer each time.

    Put off by one visibility timeout each time, it would come to its last receives while the task still runs elsewhere,
    and end it there as undeliverable.

    Args:
        receive_count: how often the copy was received, this time included.
        visibility_timeout: seconds of the queue's.
    """
    return max(visibility_timeout, min(LONGEST_DEFERRAL, visibility_timeout * receive_count))


def begin(
    record: Record | None,
    submission: str,
    *,
    seen_attempts: int,
    holder: str,
    message: str,
    fake: bool = False,
    environment: str = "",
    now: datetime,
) -> Record:
    """Returns the record with a new attempt running; asked again after an uncertain write, it changes nothing.

    Args:
        record: as it stands.
        submission: which one starts.
        seen_attempts: attempts when this agent decided to run. More means that another agent was faster.
        holder: a token that no other attempt has.
        message: the id of the SQS message by which the task came.
        fake: whether the runtime is a stand-in.
        environment: the hash of the runtime's; empty: not known.
        now: the time of the start.

    Raises:
        NotHolderError: another agent has started an attempt since.
        TooLateError, TransitionError: as `contract.record.start`.
    """
    found = record.find(submission) if record is not None else None
    if record is not None and found is not None and not found.status.terminal:
        if found.holder == holder:
            return record
        if found.attempts > seen_attempts:
            raise NotHolderError(f"attempt {found.attempts} of submission {submission} began meanwhile", found)
    return start(record, submission, holder=holder, message=message, fake=fake, environment=environment, now=now)


MOST_DETOURS: Final = 60
"""Receives up to which a task may wait for an agent with its environment, while there is one."""

FEW_DETOURS: Final = 6
"""The same while none is known to be there: one that has just started may not have told of itself yet."""

LONGEST_DETOUR: Final = 30
"""Seconds between two of them at most."""


def detour(*, receive_count: int, is_about: bool, jitter: float) -> int | None:
    """Returns for how many seconds a task is left to agents of another environment; None: it fails.

    During a rollout agents of two environments take from one queue, and SQS lets nobody choose. So a message goes back
    until one comes by that may run it; how often, SQS counts, and what counts there needs no write.

    Args:
        receive_count: how often the message was received, this time included.
        is_about: whether an agent has told of the wanted environment lately.
        jitter: 0 to 1, drawn by the caller.
    """
    if receive_count > (MOST_DETOURS if is_about else FEW_DETOURS):
        return None
    if is_about:
        # A second more each time: doubled, a task that one of two pods may run would wait a minute one time in 64.
        return max(1, round(min(receive_count, LONGEST_DETOUR) * (1 - 0.5 * jitter)))
    return retry_delay(receive_count, jitter=jitter, base=1.0, cap=LONGEST_DETOUR)


def ended_by(error: TransitionError, *, holder: str) -> bool:
    """Tells whether a refused `finish` was our own write, which had won although its answer was lost."""
    return isinstance(error, AlreadyEndedError) and error.submission is not None and error.submission.holder == holder


@dataclass(frozen=True)
class Fail:
    """The task has failed for good."""

    failure: Failure
    dead_letter: bool
    """Whether its message goes to the dead-letter queue: what nobody understands, somebody should look at."""


@dataclass(frozen=True)
class Retry:
    """The message goes back to the queue."""

    delay: int
    """Seconds until it is visible again."""
    excuse: bool
    """Whether the attempt does not count."""


def on_error(error: TaskError, *, blamed: int, excused: int, jitter: float) -> Fail | Retry:
    """Returns what an attempt that raised an error leads to.

    Args:
        error: what the attempt raised.
        blamed: blamed attempts, this one included.
        excused: excused attempts, without this one.
        jitter: 0 to 1, drawn by the caller.
    """
    failure = Failure(code=error.code, message=error.message)
    if isinstance(error, PermanentError):
        return Fail(failure, dead_letter=False)
    if isinstance(error, RuntimeUnavailableError) and excused < MAX_EXCUSES_FOR_CRASHES:
        return Retry(retry_delay(excused + 1, jitter=jitter, base=1.0), excuse=True)
    if blamed >= MAX_ATTEMPTS:
        return Fail(failure, dead_letter=True)
    return Retry(retry_delay(blamed, jitter=jitter), excuse=False)


def waits_in_vain(submission: Submission, delay: int, now: datetime) -> bool:
    """Tells whether a task that is tried again after so many seconds could not begin in time."""
    return submission.is_too_late(now + timedelta(seconds=delay))


def may_have_orphans(submission: Submission) -> bool:
    """Tells whether objects may lie about that an ended submission's record does not name.

    Only an attempt that began may have uploaded, and the one that succeeded has named all that it made.
    """
    return submission.attempts > (1 if submission.status is Status.SUCCEEDED else 0)


def exhausted(submission: Submission) -> Failure:
    """Returns the failure of a task whose attempts all began and never ended."""
    if submission.blamed < MAX_ATTEMPTS:
        return Failure(
            code="undeliverable",
            message=f"its message was received about {MAX_RECEIVE_COUNT} times, and no agent brought it to an end",
        )
    return Failure(
        code="attempts_exhausted",
        message=f"each of {submission.blamed} attempts ended without an answer: the agents that ran it died",
    )


def retry_delay(attempt: int, *, jitter: float, base: float = RETRY_BASE, cap: float = RETRY_CAP) -> int:
    """Returns whole seconds to wait after the `attempt`-th attempt (from 1): doubled each time, then cut by up to half.

    "Equal jitter": tasks that failed together do not come back together, and none comes back at once.
    """
    doublings = min(max(attempt, 1) - 1, 30)
    delay = min(cap, base * 2.0**doublings)
    return max(1, round(delay * (1 - 0.5 * jitter)))


def refusal(task_type: TaskType, runtime_type: RuntimeType) -> PermanentError | None:
    """Returns why this type of runtime cannot take a type of task, or None when it can."""
    allowed = KINDS[runtime_type].task_types
    if task_type in allowed:
        return None
    return PermanentError(
        "unsupported_task_type",
        f"a runtime of type {runtime_type} does not take {task_type} tasks; it takes {', '.join(sorted(allowed))}",
    )

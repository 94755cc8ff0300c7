"""Ends what was prepared or run: results, record, callback and deletion, always in that order.

What is written before the record is fenced by it; what comes after follows from it and can be repeated by any agent:
whoever receives the message of an ended task again only publishes what the record says and deletes the message.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import structlog
from botocore.exceptions import ClientError

from agent.aws import describe, persist
from agent.callbacks import Callbacks
from agent.decisions import Fail, begin, ended_by, exhausted, may_have_orphans, on_error, waits_in_vain
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.holdings import Held
from agent.inputs.payloads import Payloads
from agent.meter import Meter
from agent.nudges import Nudges
from agent.operations.metrics import Metrics
from agent.outcomes import (
    Abandoned,
    Answered,
    Cancelled,
    Exhausted,
    Expired,
    HandedBack,
    Outcome,
    Raised,
    Settled,
    Unreadable,
)
from agent.outputs import Outputs, OvertakenError
from agent.task_queue import TaskQueue, delete_for_good
from contract.outages import OUTAGES
from contract.record import (
    AlreadyEndedError,
    Failure,
    NotHolderError,
    Record,
    Status,
    Timings,
    TooLateError,
    Transition,
    TransitionError,
    UnknownSubmissionError,
    end_unstarted,
    excuse,
    expire,
    finish,
    let_go,
    note_callback,
    note_callback_refused,
    note_cost,
    too_late,
)
from contract.store import RecordStore
from contract.task_lists import TaskLists
from contract.webhooks import Event

log = structlog.get_logger()

_CANCELLED = Failure(code="cancelled", message="the task was cancelled")


class Completion:
    """The stage after the run.

    Args:
        queue: where messages are deleted or handed back.
        store: the task records.
        outputs: where results go.
        payloads: contents that were too large for their messages; deleted with them.
        callbacks: the callback topic.
        lists: of tasks, one of which has those that did not succeed.
        metrics: counts outcomes.
        runtime_name: named in dead letters.
        visibility_timeout: seconds after which a message that was not confirmed may be somebody else's.
        new_holder: makes the token of an attempt.
        fake: whether the runtime is a stand-in, for the record.
        environment: tells the hash of the runtime's environment, for the record; empty: not known.
        nudges: tell of runs that begin, where somebody wants to hear of them.
        meter: knows what runs cost.
    """

    def __init__(
        self,
        *,
        queue: TaskQueue,
        store: RecordStore,
        outputs: Outputs,
        payloads: Payloads,
        callbacks: Callbacks,
        lists: TaskLists,
        metrics: Metrics,
        runtime_name: str,
        visibility_timeout: float,
        new_holder: Callable[[], str],
        fake: bool = False,
        environment: Callable[[], str] = str,
        nudges: Nudges | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._queue = queue
        self._store = store
        self._outputs = outputs
        self._payloads = payloads
        self._callbacks = callbacks
        self._lists = lists
        self._metrics = metrics
        self._runtime_name = runtime_name
        self._visibility_timeout = visibility_timeout
        self._new_holder = new_holder
        self._fake = fake
        self._environment = environment
        self._nudges = nudges
        self._meter = meter or Meter()

    async def start(self, held: Held) -> None:
        """Writes the start of an attempt; a refusal is left in `held.refused`."""
        held.holder = self._new_holder()
        held.queued_seconds = held.age
        transition = partial(
            begin,
            submission=held.submission_id,
            seen_attempts=held.seen_attempts,
            holder=held.holder,
            message=held.delivery.message_id,
            fake=self._fake,
            environment=self._environment(),
            now=datetime.now(UTC),
        )
        try:
            await self._change(held, transition)
        except TransitionError as error:
            held.refused = error
        else:
            held.attempt, held.cost_before = held.submission.attempts, held.submission.cost
            self.tell(held, Event.RUNNING)

    def tell(self, held: Held, event: Event) -> None:
        """Tells of what has happened to a run, where somebody wants to hear of it; waits for nobody."""
        if self._nudges is not None:
            self._nudges.tell(held, event)

    async def conclude(self, held: Held, outcome: Outcome) -> str | None:
        """Brings an outcome into S3 and the record; what follows needs the outcome no more.

        Args:
            held: the message.
            outcome: what preparing or running came to.

        Returns:
            What became of the message: retried, handed_back, abandoned, or dead_lettered. None: its task has ended,
            and `settle` is to follow.

        Raises:
            botocore.exceptions.ClientError: AWS refuses a request that cannot be done without.
        """
        if held.starting is not None:
            await held.starting
        try:
            return await self._dispatch(held, await self._check_holder(held, outcome))
        except OvertakenError:
            await self._sweep_late(held)
            return self._abandon()

    async def settle(self, held: Held) -> str:
        """Does what an ended record calls for, and deletes the message.

        Returns:
            How the task has ended: succeeded, failed, cancelled, expired, or dead_lettered.

        Raises:
            botocore.exceptions.ClientError: AWS refuses a request that cannot be done without.
        """
        submission = held.submission
        if held.stored is not None and may_have_orphans(submission):
            await self._try("sweep", self._outputs.sweep(held.metadata.ref, held.stored.record, submission))
        may_delete = True
        if submission.dead_lettered and not self._was_called_back(held):
            may_delete = await self._send_dead_letter(held, submission.error.message if submission.error else "failed")
        began = time.monotonic()
        unlisted = submission.status is not Status.SUCCEEDED and not self._was_called_back(held)
        listed = self._lists.unsuccessful(held.metadata.ref, submission) if unlisted else None
        booked = None if self._was_called_back(held) else self._lists.used(held.metadata.ref, submission)
        refusal = await self._call_back(held)
        for written in (listed, booked):
            if written is not None:
                # As the callback: should this agent die before the message is gone, it is done again.
                await written()
        self._metrics.phases.labels("callback").observe(time.monotonic() - began)
        if refusal is not None:
            if not submission.dead_lettered or self._was_called_back(held):
                may_delete = await self._send_dead_letter(held, refusal.message)
            await self._note(held, partial(note_callback_refused, submission=held.submission_id, error=refusal))
        elif submission.owes_callback:
            await self._note(held, partial(note_callback, submission=held.submission_id))
        submission = held.submission
        if not submission.dead_lettered:  # a dead letter may be sent back, and then needs its content
            # Before the message: should this agent die in between, the message comes back, and is settled again.
            await self._try("delete_payload", self._delete_payload(held))
        if may_delete:
            await delete_for_good(self._queue, held)
        log.info("task_ended", status=submission.status, attempts=submission.attempts, callback=refusal is None)
        return "dead_lettered" if submission.dead_lettered else submission.status.value

    def _was_called_back(self, held: Held) -> bool:
        """Tells whether the callback went out, or was refused for good: then the dead letter was sent before it."""
        submission = held.submission
        return submission.callback_error is not None or self._callbacks.was_published(held.metadata.ref, submission)

    async def _call_back(self, held: Held) -> Failure | None:
        """Publishes the callback; returns why SNS refuses it for good."""
        try:
            await self._callbacks.publish(held.metadata.ref, held.submission)
        except ClientError as error:
            failure = Failure(code="callback_refused", message=f"the callback was refused: {describe(error)}")
            log.error("callback_refused", error=failure.message)  # noqa: TRY400 - no trace: AWS's own words say it all
            return failure
        if held.submission.callback_error is not None:
            await self._note(held, partial(note_callback, submission=held.submission_id))
        return None

    async def _note(self, held: Held, transition: Transition) -> None:
        """Notes something of an ended submission in its record, if it is still there."""
        with suppress(UnknownSubmissionError):
            await self._change(held, transition)

    async def _try(self, what: str, doing: Awaitable[object]) -> None:
        """Does what the end of a task can do without: a refusal is logged, and nobody waits for it in vain."""
        try:
            await doing
        except ClientError as error:
            log.error("refused", what=what, error=describe(error))  # noqa: TRY400 - as above

    async def _check_holder(self, held: Held, outcome: Outcome) -> Outcome:
        """Returns the outcome as the record lets it stand."""
        if held.refused is not None:
            return _after_refusal(held.refused)
        if held.attempt and isinstance(outcome, Answered | Raised | Cancelled) and not await self._is_mine(held):
            return Abandoned()
        return outcome

    async def _dispatch(self, held: Held, outcome: Outcome) -> str | None:
        match outcome:
            case Answered():
                return await self._succeed(held, outcome)
            case Raised(error):
                return await self._fail(held, error)
            case HandedBack(delay):
                return await self._return(held, delay)
            case Unreadable(reason):
                return await self._bury(held, reason)
            case Abandoned():
                return self._abandon()
            case Cancelled():
                await self._end(held, Status.CANCELLED, error=_CANCELLED)
            case Exhausted():
                await self._end(held, Status.FAILED, error=exhausted(held.submission), dead_lettered=True)
            case Expired():
                await self._expire(held)
            case Settled():
                await self._reread(held)
        return None

    async def _return(self, held: Held, delay: int) -> str | None:
        """Hands a task back that was not run, or not to its end."""
        if held.attempt:
            if waits_in_vain(held.submission, delay, datetime.now(UTC)):
                await self._end(held, Status.EXPIRED, error=too_late(held.submission))
                return None
            await self._excuse(held)
        await self._hand_back(held, delay)
        return "handed_back"

    async def _succeed(self, held: Held, outcome: Answered) -> str | None:
        began = time.monotonic()
        try:
            result = await self._outputs.store(
                held.metadata.ref, held.submission, outcome.answer, is_mine=partial(self._reread_is_mine, held)
            )
        except ClientError as error:
            log.error("results_refused", error=describe(error))  # noqa: TRY400 - no trace: AWS's own words say it all
            return await self._fail(
                held, TransientError("storage_refused", f"the results could not be stored: {describe(error)}")
            )
        upload = time.monotonic() - began
        if result.image_url and (age := held.age) is not None:
            self._metrics.first_image.observe(age)
        self._metrics.phases.labels("upload").observe(upload)
        await self._end(
            held,
            Status.SUCCEEDED,
            image_url=result.image_url,
            output_url=result.output_url,
            warnings=outcome.answer.warnings,
            timings=_timings(held, generation=outcome.seconds, upload=upload),
        )
        return None

    async def _fail(self, held: Held, error: TaskError) -> str | None:
        if not held.attempt and isinstance(error, TransientError):
            # It counts as an attempt all the same: an input whose host is broken must not be tried for ever.
            await self.start(held)
            if held.refused is not None:
                return await self._dispatch(held, _after_refusal(held.refused))
        if not held.attempt and isinstance(error, RuntimeUnavailableError):
            await self._hand_back(held, 1)
            return "handed_back"
        verdict = on_error(
            error,
            blamed=held.submission.blamed,
            excused=held.submission.excused,
            jitter=random.random(),  # noqa: S311 - no secret
        )
        if isinstance(verdict, Fail):
            log.warning("task_failed", code=verdict.failure.code, error=verdict.failure.message)
            await self._end(held, Status.FAILED, error=verdict.failure, dead_lettered=verdict.dead_letter)
            return None
        if waits_in_vain(held.submission, verdict.delay, datetime.now(UTC)):
            last = Failure(code=error.code, message=error.message)
            await self._end(held, Status.EXPIRED, error=too_late(held.submission, last))
            return None
        log.warning("task_retried", code=error.code, error=error.message, delay=verdict.delay, excused=verdict.excuse)
        if verdict.excuse:
            await self._excuse(held)
        elif held.submission.start_by is not None:
            await self._give_up_hold(held, let_go)
        else:
            await self._note_cost(held)
        await self._hand_back(held, verdict.delay)
        return "handed_back" if verdict.excuse else "retried"

    async def _bury(self, held: Held, reason: str) -> str:
        log.warning("message_unreadable", reason=reason[:500], bytes=len(held.delivery.body))
        if await self._send_dead_letter(held, f"unreadable: {reason}"):
            await delete_for_good(self._queue, held)
        return "dead_lettered"

    async def _send_dead_letter(self, held: Held, reason: str) -> bool:
        """Sends the message to the dead-letter queue, if there is one; returns whether it may be deleted.

        One that SQS refuses there stays: received often enough, SQS itself moves it.
        """
        named = held.named if held.task is not None else {}
        attributes = {**named, "runtime": self._runtime_name, "reason": reason}
        tenant = held.metadata.tenant if held.task is not None else ""
        about = {"reason": reason[:500], "message_id": held.delivery.message_id}
        try:
            sent = await persist(
                lambda: self._queue.send_dead_letter(held.delivery.body, attributes, tenant=tenant), "sqs:SendMessage"
            )
        except ClientError as error:
            log.error("dead_letter_refused", error=describe(error), **about)  # noqa: TRY400 - as above
            return False
        if not sent:
            log.error("no_dead_letter_queue", **about)
        return True

    async def _delete_payload(self, held: Held) -> None:
        """Deletes the payload; the bucket's lifecycle is the backstop."""
        try:
            key = self._payloads.key_of(held.task) if held.task is not None else None
        except PermanentError:
            return
        if key is not None:
            await self._outputs.delete([key])

    async def _end(
        self,
        held: Held,
        status: Status,
        *,
        error: Failure | None = None,
        image_url: list[str] | None = None,
        output_url: str = "",
        warnings: Sequence[str] = (),
        timings: Timings | None = None,
        dead_lettered: bool = False,
    ) -> None:
        """Writes the end of the submission into its record.

        Raises:
            OvertakenError: another attempt holds or has ended it.
        """
        now = datetime.now(UTC)
        if not held.attempt:
            unstarted = partial(
                end_unstarted,
                submission=held.submission_id,
                status=status,
                now=now,
                error=error,
                dead_lettered=dead_lettered,
            )
            try:
                await self._change(held, unstarted)
            except AlreadyEndedError:
                # By us, by the API's cancel, or by another agent: what the record says is true in each case.
                await self._reread(held)
            return
        held_by_us = partial(
            finish,
            submission=held.submission_id,
            holder=held.holder,
            attempt=held.attempt,
            status=status,
            now=now,
            image_url=image_url,
            output_url=output_url,
            error=error,
            warnings=warnings,
            timings=timings,
            environment=self._environment(),
            dead_lettered=dead_lettered,
            cost=self._meter.cost_of(held),
        )
        try:
            await self._change(held, held_by_us)
        except TransitionError as refused:
            if not ended_by(refused, holder=held.holder):
                raise OvertakenError(str(refused)) from refused
            await self._reread(held)

    async def _expire(self, held: Held) -> None:
        """Ends a task that was to begin by now.

        Raises:
            OvertakenError: somebody has begun it in time.
        """
        expired = partial(
            expire, submission=held.submission_id, seen_attempts=held.seen_attempts, now=datetime.now(UTC)
        )
        try:
            await self._change(held, expired)
        except AlreadyEndedError:
            await self._reread(held)
        except TransitionError as error:
            raise OvertakenError(str(error)) from error

    async def _excuse(self, held: Held) -> None:
        await self._give_up_hold(held, excuse)

    async def _give_up_hold(self, held: Held, how: Callable[..., Record]) -> None:
        given_up = partial(
            how,
            submission=held.submission_id,
            holder=held.holder,
            attempt=held.attempt,
            cost=self._meter.cost_of(held),
        )
        try:
            await self._change(held, given_up)
        except NotHolderError as error:
            # Our own write, answered late, has taken the holder out of the record.
            if error.submission is None or error.submission.holder is not None:
                raise OvertakenError(str(error)) from error
        except TransitionError as error:
            raise OvertakenError(str(error)) from error

    async def _note_cost(self, held: Held) -> None:
        """Writes what an attempt has cost that will be repeated, where that is counted.

        Raises:
            OvertakenError: another attempt holds or has ended the task.
        """
        cost = self._meter.cost_of(held)
        if cost is None or not held.gpu_seconds:
            return
        noted = partial(note_cost, submission=held.submission_id, holder=held.holder, attempt=held.attempt, cost=cost)
        try:
            await self._change(held, noted)
        except TransitionError as error:
            raise OvertakenError(str(error)) from error

    async def _hand_back(self, held: Held, delay: int) -> None:
        if held.is_stale(self._visibility_timeout):
            return
        try:
            await self._queue.hand_back([held], delay)
        except OUTAGES as error:
            log.info("hand_back_failed", error=describe(error), back_in="at most the visibility timeout")

    async def _sweep_late(self, held: Held) -> None:
        """Deletes what this attempt has uploaded after another one had ended the task, and swept."""
        try:
            await self._reread(held)
        except OvertakenError:
            return
        if held.stored is not None and held.submission.status.terminal:
            await self._outputs.sweep(held.metadata.ref, held.stored.record, held.submission)

    def _abandon(self) -> str:
        log.warning("task_overtaken")
        return "abandoned"

    async def _change(self, held: Held, transition: Transition) -> None:
        """Applies a transition, first to the record as last seen, and keeps the record as it then stands."""
        known = held.stored

        async def change() -> None:
            nonlocal known
            trusted, known = known, None  # after a failed try, only a fresh read is trusted
            changed = await self._store.change(held.metadata.ref, transition, known=trusted, about=held.submission_id)
            held.keep(changed)

        await persist(change, "s3:PutObject record")

    async def _reread(self, held: Held) -> None:
        stored = await persist(
            lambda: self._store.read(held.metadata.ref, about=held.submission_id), "s3:GetObject record"
        )
        if stored is None or stored.record.find(held.submission_id) is None:
            raise OvertakenError("the record is gone")
        held.keep(stored)

    async def _is_mine(self, held: Held) -> bool:
        """Tells whether this attempt holds the task; asks the record only when others may have the message."""
        if held.is_stale(self._visibility_timeout):
            await self._reread(held)
        return held.is_holder

    async def _reread_is_mine(self, held: Held) -> bool:
        await self._reread(held)
        return held.is_holder


def _after_refusal(error: TransitionError) -> Outcome:
    """Returns what becomes of a message whose start the record refused."""
    if isinstance(error, AlreadyEndedError):
        return Settled()
    if isinstance(error, NotHolderError) or error.submission is None:
        return Abandoned()
    if isinstance(error, TooLateError):
        return Expired()
    return Cancelled()


def _timings(held: Held, *, generation: float, upload: float) -> Timings:
    return Timings(
        queued=None if held.queued_seconds is None else round(held.queued_seconds, 3),
        inputs=round(held.preparing_seconds, 3),
        generation=round(generation, 3),
        upload=round(upload, 3),
    )

"""The record under every order of events that agents, users and queues can bring about.

A state machine plays one task and several agents which receive its message (also twice, also while another one runs
it), start, crash, freeze, fail, hand back, and wake up again to finish what is no longer theirs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.decisions import (
    MAX_EXCUSES_FOR_CRASHES,
    Arrival,
    Fail,
    begin,
    exhausted,
    on_arrival,
    on_error,
    waits_in_vain,
)
from agent.errors import PermanentError, RuntimeUnavailableError, TaskError, TransientError
from contract.identifiers import TaskRef
from contract.record import (
    AlreadyEndedError,
    Failure,
    NotHolderError,
    Record,
    Status,
    Submission,
    Transition,
    TransitionError,
    end_unstarted,
    excuse,
    expire,
    finish,
    let_go,
    report_progress,
    request_cancel,
    submit,
    too_late,
)
from contract.task import TaskType
from contract.topology import MAX_ATTEMPTS

START = datetime(2026, 1, 1, tzinfo=UTC)
_RANK = {Status.QUEUED: 0, Status.RUNNING: 1, Status.CANCELLING: 2}

ERRORS = [
    PermanentError("invalid", "text"),
    TransientError("error", "text"),
    RuntimeUnavailableError("gone", "text"),
]


@dataclass
class Attempt:
    """One agent's attempt; it may outlive its right to the task."""

    holder: str
    number: int
    seen: Record = field(repr=False)


class TaskLife(RuleBasedStateMachine):
    """One submission from its acceptance to well after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.tokens = count(1)
        self.record = submit(
            None,
            TaskRef("t"),
            Submission(
                submission="s",
                runtime="sdruntime",
                tasktype=TaskType.TEXT_TO_IMAGE,
                prefix="output",
                submitted_at=START,
            ),
        )
        self.history = [self.record.current]
        self.waiting: list[tuple[Submission, str]] = []
        self.attempts: list[Attempt] = []
        self.ends = 0
        self.message_visible = True
        self.cancelled_by_user = False

    @initialize(seconds=st.none() | st.integers(1, 20))
    def it_may_have_to_begin_by_some_time(self, seconds: int | None) -> None:
        if seconds is not None:
            late = START + timedelta(seconds=seconds)
            self.record = self.record.replace(self.current.model_copy(update={"start_by": late}))
            self.history = [self.current]

    def _apply(self, transition: Transition) -> None:
        self.now += timedelta(seconds=1)
        ended_before = self.record.current.status.terminal
        self.record = transition(self.record)
        self.history.append(self.record.current)
        if self.record.current.status.terminal and not ended_before:
            self.ends += 1

    @property
    def current(self) -> Submission:
        return self.record.current

    def _newest(self, attempt: Attempt) -> bool:
        return self.current.holder == attempt.holder and self.current.attempts == attempt.number

    @rule(receives=st.integers(1, 5), message=st.sampled_from(["message", "second copy"]))
    def an_agent_receives_the_message(self, receives: int, message: str) -> None:
        arrival = on_arrival(self.current, receive_count=receives, message=message, now=self.now)
        if arrival is Arrival.RUN:
            assert self.current.holder is None or self.current.message == message, "a copy takes it from its holder"
            self.waiting.append((self.current, message))
        elif arrival is Arrival.CANCEL:
            self._apply(lambda record: end_unstarted(record, "s", status=Status.CANCELLED, now=self.now))
        elif arrival is Arrival.EXPIRE:
            seen = self.current.attempts
            self._apply(lambda record: expire(record, "s", seen_attempts=seen, now=self.now))
        elif arrival is Arrival.EXHAUST:
            assert self.current.blamed >= MAX_ATTEMPTS
            error = exhausted(self.current)
            self._apply(lambda record: end_unstarted(record, "s", status=Status.FAILED, now=self.now, error=error))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def an_agent_starts_a_run(self, data: st.DataObject) -> None:
        seen, message = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        holder = f"agent-{next(self.tokens)}"
        before = self.current
        try:
            self._apply(
                lambda record: begin(
                    record, "s", seen_attempts=seen.attempts, holder=holder, message=message, now=self.now
                )
            )
        except NotHolderError:
            assert before.attempts > seen.attempts, "refused although nobody was faster"
        except TransitionError:
            assert before.status.terminal or before.status is Status.CANCELLING or before.is_too_late(self.now)
        else:
            assert not self.current.is_too_late(self.now), "an attempt has begun too late"
            self.attempts.append(Attempt(holder, self.current.attempts, self.record))

    @rule(seen=st.integers(0, 5))
    def the_api_looks_whether_it_has_begun(self, seen: int) -> None:
        before = self.current
        if before.holder is not None:
            return
        try:
            self._apply(lambda record: expire(record, "s", seen_attempts=seen, now=self.now, callback_owed=True))
        except AlreadyEndedError:
            assert before.status.terminal
        except NotHolderError:
            assert before.attempts != seen
        except TransitionError:
            assert not before.is_too_late(self.now)
        else:
            assert before.attempts == seen
            assert self.current.status is (Status.CANCELLED if before.status is Status.CANCELLING else Status.EXPIRED)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), status=st.sampled_from([Status.SUCCEEDED, Status.CANCELLED]))
    def an_attempt_ends(self, data: st.DataObject, status: Status) -> None:
        attempt = self._draw(data)
        newest, ended = self._newest(attempt), self.current.status.terminal
        if status is Status.CANCELLED and self.current.status is not Status.CANCELLING:
            return
        try:
            self._apply(
                lambda record: finish(
                    record,
                    "s",
                    holder=attempt.holder,
                    attempt=attempt.number,
                    status=status,
                    now=self.now,
                    output_url=attempt.holder,
                )
            )
        except (NotHolderError, AlreadyEndedError):
            assert ended or not newest
        else:
            assert newest
            assert not ended
            assert self.current.output_url == attempt.holder

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), error=st.sampled_from(ERRORS), jitter=st.floats(0, 1))
    def an_attempt_fails(self, data: st.DataObject, error: TaskError, jitter: float) -> None:
        attempt = self._draw(data)
        if not self._newest(attempt) or self.current.status.terminal:
            return
        verdict = on_error(error, blamed=self.current.blamed, excused=self.current.excused, jitter=jitter)
        if isinstance(verdict, Fail):
            self._apply(
                lambda record: finish(
                    record,
                    "s",
                    holder=attempt.holder,
                    attempt=attempt.number,
                    status=Status.FAILED,
                    now=self.now,
                    error=verdict.failure,
                    dead_lettered=verdict.dead_letter,
                )
            )
        elif waits_in_vain(self.current, verdict.delay, self.now):
            self._apply(
                lambda record: finish(
                    record,
                    "s",
                    holder=attempt.holder,
                    attempt=attempt.number,
                    status=Status.EXPIRED,
                    now=self.now,
                    error=too_late(record.current) if record else None,
                )
            )
        else:
            give_up = excuse if verdict.excuse else let_go
            if verdict.excuse or self.current.start_by is not None:
                self._apply(lambda record: give_up(record, "s", holder=attempt.holder, attempt=attempt.number))
        self.attempts.remove(attempt)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def an_agent_drains(self, data: st.DataObject) -> None:
        attempt = self._draw(data)
        newest = self._newest(attempt) and not self.current.status.terminal
        try:
            self._apply(lambda record: excuse(record, "s", holder=attempt.holder, attempt=attempt.number))
        except TransitionError:
            assert not newest
        self.attempts.remove(attempt)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def an_agent_dies(self, data: st.DataObject) -> None:
        self.attempts.remove(self._draw(data))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), progress=st.floats(0, 1))
    def an_attempt_reports_progress(self, data: st.DataObject, progress: float) -> None:
        attempt = self._draw(data)
        newest = self._newest(attempt) and not self.current.status.terminal
        try:
            self._apply(
                lambda record: report_progress(
                    record, "s", holder=attempt.holder, attempt=attempt.number, progress=progress
                )
            )
        except TransitionError:
            assert not newest

    @rule()
    def the_user_cancels(self) -> None:
        was_queued = self.current.status is Status.QUEUED
        try:
            self._apply(lambda record: request_cancel(record, now=self.now))
        except AlreadyEndedError:
            return
        if was_queued:
            assert self.current.status is Status.CANCELLED
            assert self.current.attempts == 0

    @rule()
    def a_refused_task_ends_without_a_run(self) -> None:
        error = Failure(code="invalid", message="text")
        if self.current.attempts:
            return
        try:
            self._apply(lambda record: end_unstarted(record, "s", status=Status.FAILED, now=self.now, error=error))
        except AlreadyEndedError:
            return

    @invariant()
    def it_ends_once_and_then_stays_as_it_is(self) -> None:
        assert self.ends <= 1
        ended = [state for state in self.history if state.status.terminal]
        assert all(state == ended[0] for state in ended)

    @invariant()
    def it_never_goes_back(self) -> None:
        if len(self.history) < 2:
            return
        before, after = self.history[-2:]
        assert after.attempts >= before.attempts
        assert after.excused >= before.excused
        if not after.status.terminal:
            assert _RANK[after.status] >= _RANK[before.status]

    @invariant()
    def only_what_was_to_begin_by_some_time_expires(self) -> None:
        if self.current.status is Status.EXPIRED:
            assert self.current.start_by is not None
            assert self.current.error is not None
            assert self.current.error.code == "expired"

    @invariant()
    def attempts_are_bounded(self) -> None:
        assert 0 <= self.current.excused <= self.current.attempts
        assert self.current.blamed <= MAX_ATTEMPTS + MAX_EXCUSES_FOR_CRASHES

    def _draw(self, data: st.DataObject) -> Attempt:
        return self.attempts[data.draw(st.integers(0, len(self.attempts) - 1))]


TaskLife.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestTaskLife = TaskLife.TestCase

"""What the agent decides about messages, attempts and errors, over all that they can be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decisions import (
    LAST_RECEIVES,
    MAX_EXCUSES_FOR_CRASHES,
    RETRY_CAP,
    Arrival,
    Fail,
    Retry,
    begin,
    deferral,
    exhausted,
    may_have_orphans,
    on_arrival,
    on_error,
    refusal,
    retry_delay,
)
from agent.errors import PermanentError, RuntimeUnavailableError, TransientError
from contract.record import AlreadyEndedError, NotHolderError, Record, Status, Submission, TransitionError
from contract.runtimes import KINDS
from contract.task import RuntimeType, TaskType
from contract.topology import MAX_ATTEMPTS, MAX_RECEIVE_COUNT

NOW = datetime(2026, 1, 1, tzinfo=UTC)

counts = st.integers(0, 40)
jitters = st.floats(0, 1)


@st.composite
def submissions(draw: st.DrawFn) -> Submission:
    attempts = draw(counts)
    return Submission(
        submission="s",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        submitted_at=NOW,
        status=draw(st.sampled_from(Status)),
        attempts=attempts,
        excused=draw(st.integers(0, attempts)),
        holder=draw(st.none() | st.just("another agent")),
        message=draw(st.sampled_from(["", "m", "n"])),
        start_by=draw(st.none() | st.sampled_from([NOW, NOW + timedelta(seconds=1)])),
    )


@given(submissions(), st.integers(0, 100))
def test_a_task_runs_only_while_it_is_unfinished_unexhausted_and_uncancelled(
    submission: Submission, receives: int
) -> None:
    arrival = on_arrival(submission, receive_count=receives, message="m", now=NOW)

    assert (arrival is Arrival.SETTLE) == submission.status.terminal
    if arrival is Arrival.EXPIRE:
        assert submission.start_by == NOW
    if arrival is Arrival.RUN:
        assert submission.start_by != NOW
        assert submission.status in {Status.QUEUED, Status.RUNNING}
        assert submission.blamed < MAX_ATTEMPTS


@given(submissions(), st.integers(MAX_RECEIVE_COUNT - LAST_RECEIVES + 1, MAX_RECEIVE_COUNT))
def test_a_message_that_sqs_would_soon_bury_without_a_callback_is_ended_instead(
    submission: Submission, receives: int
) -> None:
    assert on_arrival(submission, receive_count=receives, message="m", now=NOW) in {
        Arrival.SETTLE,
        Arrival.CANCEL,
        Arrival.EXPIRE,
        Arrival.EXHAUST,
    }
    assert exhausted(submission).message


@given(submissions())
def test_a_copy_that_is_received_for_the_first_time_never_takes_a_task_from_its_holder(submission: Submission) -> None:
    arrival = on_arrival(submission, receive_count=1, message="m", now=NOW)

    if submission.holder is not None and not submission.status.terminal:
        assert arrival is Arrival.DEFER


@given(submissions(), st.integers(2, MAX_RECEIVE_COUNT))
def test_a_message_that_came_back_is_deferred_only_when_the_holder_has_the_task_from_another_one(
    submission: Submission, receives: int
) -> None:
    arrival = on_arrival(submission, receive_count=receives, message="m", now=NOW)

    if arrival is Arrival.DEFER:
        assert submission.holder is not None
        assert submission.message == "n"
    elif submission.holder is not None and submission.message == "n" and not submission.status.terminal:
        assert receives > MAX_RECEIVE_COUNT - LAST_RECEIVES


@given(st.integers(10, 43_200))
def test_a_copy_does_not_come_to_its_last_receives_before_the_longest_task_has_ended(visibility_timeout: int) -> None:
    waits = [deferral(count, visibility_timeout) for count in range(1, MAX_RECEIVE_COUNT - LAST_RECEIVES + 1)]

    assert waits[0] == visibility_timeout
    assert waits == sorted(waits)
    assert sum(waits) > 12 * 3600, "seconds for which SQS lets anybody hold a message"
    assert max(waits) <= 43_200, "the longest visibility timeout of SQS"


@given(st.text(), st.text(), counts, counts, jitters)
def test_a_permanent_error_fails_at_once_and_is_no_dead_letter(
    code: str, message: str, blamed: int, excused: int, jitter: float
) -> None:
    verdict = on_error(PermanentError(code, message), blamed=blamed, excused=excused, jitter=jitter)

    assert isinstance(verdict, Fail)
    assert not verdict.dead_letter
    assert (verdict.failure.code, verdict.failure.message) == (code, message)


@given(st.integers(1, 40), counts, jitters)
def test_a_transient_error_is_blamed_and_the_last_one_is_a_dead_letter(
    blamed: int, excused: int, jitter: float
) -> None:
    verdict = on_error(TransientError("error", "text"), blamed=blamed, excused=excused, jitter=jitter)

    if blamed >= MAX_ATTEMPTS:
        assert isinstance(verdict, Fail)
        assert verdict.dead_letter
    else:
        assert isinstance(verdict, Retry)
        assert not verdict.excuse


@given(st.integers(1, 40), st.integers(0, MAX_EXCUSES_FOR_CRASHES - 1), jitters)
def test_a_runtime_that_went_away_is_never_blamed_on_the_task(blamed: int, excused: int, jitter: float) -> None:
    verdict = on_error(RuntimeUnavailableError("gone", "text"), blamed=blamed, excused=excused, jitter=jitter)

    assert isinstance(verdict, Retry)
    assert verdict.excuse


@given(jitters)
def test_a_task_that_kills_every_runtime_it_meets_ends_nevertheless(jitter: float) -> None:
    blamed, excused, attempts = 0, 0, 0
    while attempts < 100:
        attempts += 1
        verdict = on_error(RuntimeUnavailableError("gone", "text"), blamed=blamed + 1, excused=excused, jitter=jitter)
        if isinstance(verdict, Fail):
            break
        excused, blamed = (excused + 1, blamed) if verdict.excuse else (excused, blamed + 1)

    assert attempts == MAX_EXCUSES_FOR_CRASHES + MAX_ATTEMPTS


@given(st.integers(-5, 10_000), jitters)
def test_delays_grow_but_neither_vanish_nor_exceed_what_a_person_waits(attempt: int, jitter: float) -> None:
    delay = retry_delay(attempt, jitter=jitter)

    assert 1 <= delay <= RETRY_CAP
    assert retry_delay(attempt + 1, jitter=jitter) >= delay
    assert retry_delay(attempt, jitter=0) >= delay


@pytest.mark.parametrize("runtime_type", RuntimeType)
@pytest.mark.parametrize("tasktype", TaskType)
def test_a_task_type_that_a_runtime_cannot_do_is_refused_with_the_ones_it_can(
    runtime_type: RuntimeType, tasktype: TaskType
) -> None:
    error = refusal(tasktype, runtime_type)

    assert (error is None) == (tasktype in KINDS[runtime_type].task_types)
    if error is not None:
        assert all(name in error.message for name in KINDS[runtime_type].task_types)


@given(submissions(), st.text(min_size=1))
def test_a_start_that_is_asked_again_changes_nothing(submission: Submission, holder: str) -> None:
    record = Record(id="t", current=submission)
    try:
        first = begin(record, "s", seen_attempts=submission.attempts, holder=holder, message="m", now=NOW)
    except TransitionError:
        return

    assert begin(first, "s", seen_attempts=submission.attempts, holder=holder, message="m", now=NOW) == first
    assert first.current.attempts - submission.attempts in {0, 1}


@given(submissions(), st.text(min_size=1).filter(lambda text: text != "another agent"))
def test_a_start_never_takes_a_task_from_an_agent_that_was_faster(submission: Submission, holder: str) -> None:
    record = Record(id="t", current=submission)
    if submission.attempts == 0:
        return

    with pytest.raises((NotHolderError, AlreadyEndedError)):
        begin(record, "s", seen_attempts=submission.attempts - 1, holder=holder, message="m", now=NOW)


@given(submissions())
def test_only_an_attempt_that_began_can_leave_orphans(submission: Submission) -> None:
    if submission.attempts == 0:
        assert not may_have_orphans(submission)
    if submission.attempts > 1:
        assert may_have_orphans(submission)

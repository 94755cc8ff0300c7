"""A record only ever goes forward, and only the newest holder may end it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from contract.callback import callback_attributes, callback_for
from contract.identifiers import TaskRef
from contract.record import (
    KEPT_EARLIER,
    KEPT_IMAGES,
    MAX_UNFINISHED,
    AlreadyEndedError,
    Failure,
    NotHolderError,
    Record,
    Status,
    Submission,
    TooManyUnfinishedError,
    TransitionError,
    UnknownSubmissionError,
    end_unstarted,
    excuse,
    finish,
    note_callback,
    report_progress,
    request_cancel,
    start,
    submission_of,
    submit,
)
from contract.task import Metadata, TaskType
from contract.webhooks import Webhook

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = TaskRef("t")


def test_a_submission_has_all_that_its_message_tells() -> None:
    metadata = Metadata(
        id="t",
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        context={"abc": 123},
        submission="s1",
        start_by=NOW,
        webhook=Webhook(url="https://example.com/hook"),
        tags={"team": "a"},
        environment="e" * 64,
    )
    found = submission_of(metadata, submitted_at=NOW)
    names = Metadata.model_fields.keys() & Submission.model_fields.keys() - {"environment", "submitted_at"}
    assert {name: getattr(found, name) for name in names} == {name: getattr(metadata, name) for name in names}
    assert (found.wants_environment, found.environment, found.submitted_at) == ("e" * 64, "", NOW)


def new(submission: str = "s1") -> Submission:
    return Submission(
        submission=submission,
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        context={"abc": 123},
        submitted_at=NOW,
    )


def queued() -> Record:
    return submit(None, TASK, new())


def running(holder: str = "a") -> Record:
    return start(queued(), "s1", holder=holder, now=NOW)


def test_a_run_that_succeeds_ends_with_its_images() -> None:
    done = finish(
        running(),
        "s1",
        holder="a",
        attempt=1,
        status=Status.SUCCEEDED,
        now=NOW,
        image_url=["s3://b/i"],
        output_url="s3://b/o",
    )
    callback = callback_for("t", done.current)
    assert callback.model_dump() == {
        "id": "t",
        "result": True,
        "image_url": ["s3://b/i"],
        "output_url": "s3://b/o",
        "context": {"abc": 123},
    }
    assert callback_attributes(callback, done.current, "") == {
        "id": "t",
        "runtime": "sdruntime",
        "result": "true",
        "submission": "s1",
        "status": "succeeded",
    }
    assert callback_attributes(callback, done.current, "alice")["tenant"] == "alice"


def test_there_is_no_callback_before_the_end() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        callback_for("t", running().current)


def test_a_holder_that_was_overtaken_cannot_finish() -> None:
    overtaken = start(running("a"), "s1", holder="b", now=NOW)
    with pytest.raises(NotHolderError):
        finish(overtaken, "s1", holder="a", attempt=1, status=Status.SUCCEEDED, now=NOW)
    with pytest.raises(NotHolderError):
        report_progress(overtaken, "s1", holder="a", attempt=1, progress=0.5)


def test_the_same_process_cannot_finish_with_an_old_attempt() -> None:
    again = start(running("a"), "s1", holder="a", now=NOW)
    with pytest.raises(NotHolderError):
        finish(again, "s1", holder="a", attempt=1, status=Status.SUCCEEDED, now=NOW)


@pytest.mark.parametrize("status", [Status.SUCCEEDED, Status.FAILED, Status.CANCELLED])
def test_an_end_never_changes(status: Status) -> None:
    done = finish(running(), "s1", holder="a", attempt=1, status=status, now=NOW)
    with pytest.raises(AlreadyEndedError):
        start(done, "s1", holder="b", now=NOW)
    with pytest.raises(AlreadyEndedError):
        finish(done, "s1", holder="a", attempt=1, status=Status.FAILED, now=NOW)
    with pytest.raises(AlreadyEndedError):
        end_unstarted(done, "s1", status=Status.FAILED, now=NOW)
    with pytest.raises(AlreadyEndedError):
        request_cancel(done, now=NOW)


def test_a_record_says_of_its_newest_attempt_whether_a_stand_in_made_the_results() -> None:
    played = start(running(), "s1", holder="b", fake=True, now=NOW)
    assert played.current.fake
    assert not start(played, "s1", holder="c", now=NOW).current.fake


def test_excused_attempts_are_not_blamed_on_the_task() -> None:
    record = running()
    record = excuse(record, "s1", holder="a", attempt=1)
    record = start(record, "s1", holder="b", now=NOW)
    assert record.current.attempts == 2
    assert record.current.blamed == 1
    assert record.current.status is Status.RUNNING


def test_a_queued_task_is_cancelled_at_once_and_a_running_one_by_its_agent() -> None:
    assert request_cancel(queued(), now=NOW).current.status is Status.CANCELLED
    asked = request_cancel(running(), now=NOW)
    assert asked.current.status is Status.CANCELLING
    assert request_cancel(asked, now=NOW) == asked
    with pytest.raises(TransitionError, match="being cancelled"):
        start(asked, "s1", holder="b", now=NOW)
    assert (
        finish(asked, "s1", holder="a", attempt=1, status=Status.CANCELLED, now=NOW).current.status is Status.CANCELLED
    )


def test_an_unknown_task_or_submission_is_said_to_be_unknown() -> None:
    with pytest.raises(UnknownSubmissionError):
        request_cancel(None, now=NOW)
    with pytest.raises(UnknownSubmissionError):
        start(queued(), "other", holder="a", now=NOW)


def test_the_same_id_may_be_submitted_again_and_both_submissions_end_for_themselves() -> None:
    record = submit(running(), TASK, new("s2"))
    assert record.current.submission == "s2"
    record = finish(
        record, "s1", holder="a", attempt=1, status=Status.FAILED, now=NOW, error=Failure(code="x", message="y")
    )
    assert record.current.status is Status.QUEUED
    assert record.earlier["s1"].status is Status.FAILED
    assert submit(record, TASK, new("s2")) == record


def test_ended_submissions_are_crowded_out_and_unfinished_ones_never() -> None:
    record = submit(None, TASK, new("open"))
    for number in range(60):
        name = f"s{number}"
        record = end_unstarted(submit(record, TASK, new(name)), name, status=Status.FAILED, now=NOW)
    assert record.find("open") is not None
    assert len(record.earlier) <= KEPT_EARLIER + 1
    assert record.find("s58") is not None
    assert record.find("s0") is None


def test_the_number_of_unfinished_submissions_is_bounded() -> None:
    record: Record | None = None
    for number in range(MAX_UNFINISHED):
        record = submit(record, TASK, new(f"s{number}"))
    with pytest.raises(TooManyUnfinishedError, match="another id"):
        submit(record, TASK, new("one-more"))


def test_a_noted_callback_stays_noted() -> None:
    record = note_callback(request_cancel(queued(), now=NOW), "s1")
    assert record.current.callback_sent


def test_progress_stays_between_nothing_and_all() -> None:
    for given_value, expected in [(-1.0, 0.0), (0.5, 0.5), (7.0, 1.0)]:
        record = report_progress(running(), "s1", holder="a", attempt=1, progress=given_value)
        assert record.current.progress == expected


def test_a_record_tells_of_no_wrong_order_whatever_the_clocks_of_api_and_agents_say() -> None:
    first, second = NOW - timedelta(days=400), NOW - timedelta(days=500)
    record = start(queued(), "s1", holder="a", now=first)
    record = start(record, "s1", holder="b", now=second)
    assert record.current.started_at == NOW
    ended = finish(record, "s1", holder="b", attempt=2, status=Status.SUCCEEDED, now=second).current
    assert ended.submitted_at <= (ended.started_at or NOW) <= (ended.finished_at or second)
    assert request_cancel(queued(), now=first).current.finished_at == NOW


def test_a_moment_without_a_time_zone_is_one_in_utc() -> None:
    submission = Submission.model_validate(new().model_dump() | {"submitted_at": "2026-01-01T00:00:00"})
    assert submission.submitted_at == NOW


def test_of_earlier_submissions_with_many_images_fewer_are_kept() -> None:
    record: Record | None = None
    for number in range(6):
        record = submit(record, TASK, new(f"s{number}"))
        many = [f"s3://b/{image}" for image in range(KEPT_IMAGES // 2)]
        ended = record.current.model_copy(update={"status": Status.SUCCEEDED, "image_url": many})
        record = record.replace(ended)
    assert record is not None
    assert list(record.earlier) == ["s3", "s4"]


def test_a_submission_whose_callback_is_owed_is_not_crowded_out() -> None:
    record = request_cancel(queued(), now=NOW)
    for number in range(KEPT_EARLIER + 2):
        record = note_callback(request_cancel(submit(record, TASK, new(f"n{number}")), now=NOW), f"n{number}")
    owed = record.earlier["s1"]
    assert owed.owes_callback
    record = submit(note_callback(record, "s1"), TASK, new("last"))
    assert "s1" not in record.earlier


def test_what_a_newer_version_has_written_survives_an_older_ones_changes() -> None:
    document = queued().model_dump(mode="json") | {"told": "later"}
    document["current"] |= {"weight": 2**70}

    record = start(Record.model_validate_json(json.dumps(document)), "s1", holder="a", now=NOW)
    record = submit(record, TASK, new("s2"))

    written = json.loads(record.model_dump_json())
    assert written["told"] == "later"
    assert written["earlier"]["s1"]["weight"] == 2**70

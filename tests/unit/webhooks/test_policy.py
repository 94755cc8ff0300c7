"""What is delivered, in which order, and for how long: over any history of a task, of attempts and of looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.deliveries import Attempt, Delivery, Ledger, State, redeliver
from contract.record import NOT_ACCEPTED, Failure, Status, Submission
from contract.webhooks import TERMINAL, Event, Webhook
from webhooks.policy import (
    Rules,
    Verdict,
    after_attempt,
    as_it_was,
    asked_wait,
    head,
    note_news,
    put_off,
    verdict_of,
    wait_after,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
RULES = Rules()
ALL = tuple(Event)


def submission(*, events: tuple[Event, ...] = ALL, **more: object) -> Submission:
    return Submission.model_validate(
        {
            "submission": "01A",
            "runtime": "sd",
            "tasktype": "pipeline",
            "prefix": "p",
            "submitted_at": START,
            "webhook": Webhook(url="https://example.com/", events=events),
            **more,
        }
    )


def states(end: Status) -> list[Submission]:
    """A task's life, as its record tells it."""
    running: dict[str, Any] = {"status": Status.RUNNING, "attempts": 1, "started_at": START}
    return [
        submission(),
        submission(**running),
        *(submission(**running, progress=step / 10) for step in range(1, 10)),
        submission(**running | {"status": end, "finished_at": START, "progress": 1.0}),
    ]


RANK = {Event.RUNNING: 0, Event.PROGRESS: 1, **dict.fromkeys(TERMINAL, 2)}


@given(
    data=st.data(),
    end=st.sampled_from([Status.SUCCEEDED, Status.FAILED, Status.CANCELLED]),
    looks=st.lists(st.integers(0, 10), max_size=12).map(sorted),
)
def test_events_arrive_in_their_order_each_once_with_success_and_the_end_always(
    data: st.DataObject, end: Status, looks: list[int]
) -> None:
    life, ledger, now = states(end), Ledger(id="a", submission="01A"), START
    delivered: list[Delivery] = []

    def deliver(ledger: Ledger, *, up: bool) -> Ledger:
        due = head(ledger)
        if due is None:
            return ledger
        verdict = Verdict.DELIVERED if up else Verdict.FAILED
        if up:
            delivered.append(due)
        return after_attempt(ledger, due.n, Attempt(at=now), verdict, now=now, rules=RULES, jitter=0.5)

    for look in [*looks, 11]:
        now += timedelta(seconds=1)
        ledger = note_news(ledger, life[look], now)
        assert note_news(ledger, life[look], now) == ledger, "a second look at the same finds no news"
        for _ in range(data.draw(st.integers(0, 3))):
            ledger = deliver(ledger, up=data.draw(st.booleans()))
    while head(ledger) is not None:
        ledger = deliver(ledger, up=True)
    assert [RANK[item.event] for item in delivered] == sorted(RANK[item.event] for item in delivered)
    assert [item.progress for item in delivered if item.progress] == sorted(
        {item.progress for item in delivered if item.progress}
    )
    assert len({item.id for item in delivered}) == len(delivered)
    assert delivered[-1].event.value == end.value
    assert Event.RUNNING in {item.event for item in delivered}


@given(jitters=st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_a_dead_receiver_is_tried_for_about_a_day_ever_more_rarely_and_then_never_again(jitters: list[float]) -> None:
    ledger = note_news(Ledger(id="a", submission="01A"), states(Status.FAILED)[-1], START)
    ledger = ledger.with_deliveries([item for item in ledger.deliveries if item.event is Event.FAILED])
    attempts = 0
    for jitter in jitters:
        due = head(ledger)
        if due is None:
            break
        attempts += 1
        ledger = after_attempt(
            ledger, due.n, Attempt(at=due.due), Verdict.FAILED, now=due.due, rules=RULES, jitter=jitter
        )
    (end,) = ledger.deliveries
    assert end.state is State.EXHAUSTED
    assert 12 <= attempts <= 22
    assert end.tries[-1].at <= START + RULES.give_up_after
    assert end.tries[-1].at >= START + RULES.give_up_after - RULES.longest_wait
    again = redeliver(ledger, end.n, START + timedelta(days=3))
    assert head(again) is not None
    with pytest.raises(LookupError):
        redeliver(ledger, 99, START)


@given(attempts=st.integers(1, 10_000), jitter=st.floats(0, 1), asked=st.floats(0, 1e7))
def test_waits_grow_and_have_an_end(attempts: int, jitter: float, asked: float) -> None:
    wait = wait_after(attempts, rules=RULES, jitter=jitter, retry_after=asked)
    assert timedelta(seconds=3) < wait <= RULES.longest_wait
    assert wait >= min(timedelta(seconds=asked), RULES.longest_wait) - timedelta(seconds=1)
    assert wait_after(1, rules=RULES, jitter=0) == RULES.first_wait


def test_a_receiver_that_was_down_for_a_minute_has_it_within_two() -> None:
    waits = [wait_after(number, rules=RULES, jitter=0) for number in range(1, 5)]
    assert sum(waits[:3], timedelta()) > timedelta(minutes=1)
    assert sum(waits[:3], timedelta()) < timedelta(minutes=2)


def test_only_success_is_success_and_gone_is_for_good() -> None:
    verdicts = {status: verdict_of(status) for status in range(100, 600)}
    assert {status for status, verdict in verdicts.items() if verdict is Verdict.DELIVERED} == set(range(200, 300))
    assert [status for status, verdict in verdicts.items() if verdict is Verdict.HOPELESS] == [410]


@pytest.mark.parametrize(
    ("status", "header", "seconds"),
    [(503, "30", 30), (429, "1", 1), (500, "30", 0), (503, "", 0), (503, "Wed, 21 Oct 2026 07:28:00 GMT", 0),
     (503, "9" * 30, 0), (429, "-1", 0), (429, "١", 0)],
)  # fmt: skip
def test_a_busy_receiver_may_say_how_long(status: int, header: str, seconds: float) -> None:
    assert asked_wait(status, header) == seconds


def test_a_task_that_was_not_accepted_and_one_without_a_webhook_have_no_news() -> None:
    empty = Ledger(id="a", submission="01A")
    error = Failure(code=NOT_ACCEPTED, message="it will not run")
    assert note_news(empty, submission(status=Status.FAILED, error=error), START) == empty
    assert note_news(empty, submission(status=Status.FAILED, webhook=None), START) == empty


def test_only_the_events_that_are_wanted_are_told() -> None:
    ended = submission(events=(Event.FAILED,), status=Status.SUCCEEDED, attempts=1, finished_at=START)
    assert note_news(Ledger(id="a", submission="01A"), ended, START).deliveries == ()


def test_a_ledger_stays_small_however_long_a_task_reports() -> None:
    ledger = Ledger(id="a", submission="01A")
    for step in range(1, 500):
        running = submission(status=Status.RUNNING, attempts=1, progress=step / 1000)
        ledger = note_news(ledger, running, START)
        (due,) = [item for item in ledger.pending if item.event is Event.PROGRESS]
        ledger = after_attempt(ledger, due.n, Attempt(at=START), Verdict.DELIVERED, now=START, rules=RULES, jitter=0)
    assert len(ledger.deliveries) < 30
    assert ledger.numbered == 500


@pytest.mark.parametrize("later", [states(Status.RUNNING)[5], states(Status.SUCCEEDED)[-1]])
def test_progress_that_somebody_asks_for_once_more_goes_out_whatever_came_after_it(later: Submission) -> None:
    running = states(Status.RUNNING)[2]
    ledger = note_news(Ledger(id="x", submission="01A"), running, START)
    for item in ledger.deliveries:
        ledger = after_attempt(
            ledger, item.n, Attempt(at=START), Verdict.DELIVERED, now=START, rules=RULES, jitter=0, holder=""
        )
    [progress] = ledger.of(Event.PROGRESS)
    asked = START + timedelta(minutes=1)

    found = note_news(redeliver(ledger, progress.n, asked), later, asked + timedelta(seconds=1)).find(progress.n)

    assert found is not None
    assert found.state is State.PENDING


def test_an_early_event_tells_nothing_of_what_came_later() -> None:
    ended = submission(
        status=Status.SUCCEEDED, attempts=1, finished_at=START, image_url=["s3://b/k"], output_url="s3://b/o"
    )
    ledger = note_news(Ledger(id="a", submission="01A"), ended, START)
    start, end = ledger.deliveries
    assert as_it_was(end, ended) == ended
    then = as_it_was(start, ended)
    assert (then.status, then.image_url, then.output_url, then.finished_at) == (Status.RUNNING, [], "", None)


def test_what_is_put_off_without_an_attempt_has_made_none() -> None:
    ledger = note_news(Ledger(id="a", submission="01A"), submission(status=Status.CANCELLED, finished_at=START), START)
    (due,) = put_off(ledger, 1, START + timedelta(hours=1)).deliveries
    assert (due.due, due.attempts, due.state) == (START + timedelta(hours=1), 0, State.PENDING)

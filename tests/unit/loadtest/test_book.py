"""The book of tasks, the inbox's reader, and the conductor: in whatever order things are heard."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.conductor import Conductor, Stage
from loadtest.inbox import digest, read_callback
from loadtest.mix import Work
from loadtest.scenario import Arrive, Scenario
from loadtest.shapes import Ramp, Steady
from loadtest.station import Report
from loadtest.tasks import Answer, Book, Heard
from tests.unit.loadtest.support import BEGAN, task

WORK = Work(runtime="sdruntime", tasktype="text-to-image")
HEARD = Heard(at=2.0, result=True, digest="x")


@given(st.permutations(["answered", "heard", "heard again"]), st.sampled_from([200, 202, 429, 503, 0]))
def test_a_task_is_under_way_from_its_acceptance_to_its_callback_in_whatever_order_they_come(
    order: list[str], status: int
) -> None:
    book = Book()
    sent = book.send(WORK, "t", due_at=0.0, now=0.5)
    firsts = 0
    for what in order:
        if what == "answered":
            book.answered(sent, status=status, now=1.0)
        else:
            firsts += book.hear("t", HEARD) is not None
    assert firsts == 1
    assert book.ended == 1
    assert book.under_way() == []
    assert (sent.answer is Answer.ACCEPTED) is (status in {200, 202})
    assert not sent.lost
    assert book.changes() == [sent]
    assert book.changes() == []


def test_a_task_that_was_sent_is_under_way_before_anybody_answers() -> None:
    book = Book()
    sent = book.send(WORK, "t", due_at=0, now=0)
    assert book.under_way() == [sent]
    assert book.changes() == [sent]


def test_only_what_may_have_been_accepted_is_waited_for() -> None:
    book = Book()
    for status in (200, 202, 429, 503, 0):
        book.answered(book.send(WORK, str(status), due_at=0, now=0), status=status, now=1)
    assert [item.id for item in book.under_way()] == ["200", "202", "0"]
    assert (book.accepted, book.throttled) == (2, 1)
    assert book.hear("of somebody else", HEARD) is None


@settings(max_examples=30)
@given(st.text() | st.builds(json.dumps, st.recursive(st.none() | st.text() | st.integers(), st.lists)))
def test_no_message_breaks_the_inbox(body: str) -> None:
    assert read_callback(body, 0.0) is None


@given(st.text(), st.booleans(), st.lists(st.text()))
def test_a_callback_is_read_with_a_digest_of_all_that_it_says(task_id: str, result: bool, images: list[str]) -> None:
    document = {"id": task_id, "result": result, "image_url": images, "output_url": "", "context": None}
    found = read_callback(json.dumps(document), 7.0)
    assert found is not None
    assert found[0] == task_id
    assert (found[1].at, found[1].result, found[1].digest) == (7.0, result, digest(document))
    assert found[1].digest != digest({**document, "image_url": [*images, "more"]})


def test_what_could_not_be_told_is_told_with_the_next_report() -> None:
    book = Book()
    first, second = (book.send(WORK, name, due_at=0, now=0) for name in ("a", "b"))
    book.untold(book.changes())
    book.hear("b", HEARD)
    assert sorted(book.changes(), key=lambda item: item.id) == [first, second]


def test_a_report_survives_its_way_through_locusts_messages() -> None:
    made = Report(tasks=[task(1), task(2, seconds=None)], arrived=2, accepted=2, ended=1, under_way=1)
    assert Report.of_json(json.loads(json.dumps(made.as_json()))) == made


def conductor(path: Path = Path("nowhere"), **changes: object) -> Conductor:
    shape = Steady(kind="steady", rate=1, duration=10)
    scenario = Scenario.model_validate({"shape": shape, "drain": 20, **changes})
    return Conductor(scenario, length=10, scaling={}, sources=[], path=path, settle=1)


@given(st.lists(st.tuples(st.floats(0.1, 30), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_test_goes_through_its_stages_in_order_and_comes_to_an_end(looks: list[tuple[float, int, int]]) -> None:
    made, elapsed, completed = conductor(), 0.0, []
    order = list(Stage)
    for step, under_way, unread in looks:
        before = made.stage
        elapsed += step
        made.take("w", Report(under_way=under_way, unread=unread))
        after = made.advance(elapsed, lambda: completed.append(True))
        assert order.index(after) >= order.index(before)
        assert after is Stage.LOAD or elapsed >= 10
    for _ in range(6):
        elapsed += 200
        made.advance(elapsed, lambda: completed.append(True))
    assert made.stage is Stage.DONE
    assert completed == [True], "what is known is completed once"


def test_the_drain_ends_soon_after_the_last_callback_but_waits_for_it() -> None:
    made = conductor()
    made.take("w", Report(under_way=1))
    assert [made.advance(at, lambda: None) for at in (10, 15, 29)] == [Stage.DRAIN] * 3
    made.take("w", Report(under_way=0))
    assert made.advance(29.5, lambda: None) is Stage.READING, "no scale-in is watched"


def test_the_drain_waits_for_a_process_whose_load_began_later_and_for_one_that_has_told_nothing(tmp_path: Path) -> None:
    made = conductor(path=tmp_path / "samples.jsonl")
    made.begin(BEGAN, processes=2)
    made.observer.stop()
    made.take("a", Report())
    assert [made.advance(at, lambda: None) for at in (10, 15)] == [Stage.DRAIN] * 2, "nothing is known of the other"
    made.take("b", Report(loading=True))
    assert made.advance(16, lambda: None) is Stage.DRAIN
    made.take("b", Report())
    assert made.advance(17, lambda: None) is Stage.READING


def test_figures_are_added_up_over_all_workers() -> None:
    made = conductor()
    made.take("a", Report(arrived=3, accepted=2, ended=1, under_way=1, tasks=[task(1)]))
    made.take("b", Report(arrived=4, accepted=4, ended=4, under_way=0, tasks=[task(2)]))
    made.take("a", Report(arrived=5, accepted=4, ended=3, under_way=1, tasks=[task(1, due_at=BEGAN + 9)]))
    assert made.counters() == {"arrived": 9, "accepted": 8, "ended": 7, "throttled": 0, "refused": 0, "under_way": 1}
    assert made.tasks["lt-1"].due_at == BEGAN + 9
    assert len(made.tasks) == 2


@pytest.mark.parametrize(("at", "users"), [(0, 2), (5, 4), (10, 6), (99, 6)])
def test_a_closed_loads_level_is_its_users_and_an_open_one_has_one_sender_in_each_worker(at: float, users: int) -> None:
    shape = Ramp(kind="ramp", start=2, end=6, duration=10)
    assert conductor(arrive=Arrive.CLOSED, shape=shape).level(at, workers=3) == users
    assert conductor(shape=shape).level(at, workers=3) == 3

"""Which tasks are looked at, and what is told to whom, for one stream about all of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.feed import shortened
from api.following import FAR_BACK, FAST, NEXT_IN_LINE, SLOWEST, Cursor, EventLog, Followed, due
from contract.documents import encode
from contract.record import Record, Status, Submission
from contract.store import Stored
from contract.task import TaskType

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def stored(name: str, status: Status, *, progress: float | None = None, runtime: str = "sdruntime") -> Stored:
    current = Submission(
        submission=name,
        runtime=runtime,
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        context="x" * 100_000,
        status=status,
        submitted_at=NOW,
        progress=progress,
    )
    record = Record(id=name, current=current, earlier={"earlier": current}, request="x" * 4096)
    return Stored(record, f"{status}{progress}")


def followed(name: str, status: Status, *, at: float = 0.0, runtime: str = "sdruntime") -> Followed:
    task = Followed(name)
    task.seen(stored(name, status, runtime=runtime), at)
    return task


def test_what_nobody_has_looked_at_gets_its_share_the_newest_first() -> None:
    unknown = [Followed(str(number)) for number in range(10)]
    running = [followed(f"running{number}", Status.RUNNING) for number in range(10)]
    chosen = due([*running, *unknown], 100.0, 6)
    assert [task.id for task in chosen] == ["9", "8", *(f"running{number}" for number in range(4))]
    assert [task.id for task in due([*unknown, running[0]], 100.0, 4)] == ["9", "8", "7", "running0"]


@pytest.mark.parametrize(
    ("status", "ahead", "seconds"),
    [
        (Status.RUNNING, 0, FAST),
        (Status.CANCELLING, 0, FAST),
        (Status.QUEUED, 0, NEXT_IN_LINE),
        (Status.QUEUED, 9, NEXT_IN_LINE),
        (Status.QUEUED, 10, FAR_BACK),
    ],
)
def test_a_task_is_due_the_sooner_the_likelier_it_is_to_change(status: Status, ahead: int, seconds: float) -> None:
    before = [followed(str(number), Status.QUEUED, at=1000.0) for number in range(ahead)]
    others = [followed(f"other{number}", Status.QUEUED, at=1000.0, runtime="comfyruntime") for number in range(20)]
    task = followed("it", status, at=1000.0)

    def is_due(after: float) -> bool:
        return task in due([*others, *before, task], 1000.0 + after, 100)

    assert not is_due(seconds - 0.01)
    assert is_due(seconds)


def test_a_task_that_runs_and_does_not_change_is_looked_at_less_often_until_it_does() -> None:
    task = Followed("t")
    assert task.seen(stored("t", Status.RUNNING), 0.0)
    for moment in range(1, 20):
        assert not task.seen(stored("t", Status.RUNNING), float(moment))
    assert task.interval == SLOWEST
    assert task.seen(stored("t", Status.RUNNING, progress=0.5), 20.0)
    assert task.interval == FAST


def test_little_of_a_record_is_kept() -> None:
    task = followed("t", Status.QUEUED)
    assert task.known is not None
    assert len(task.known.record.model_dump_json()) < 1000


def test_no_task_is_forgotten_and_no_round_is_larger_than_allowed_where_all_change_all_the_time() -> None:
    tasks = [followed(str(number), Status.QUEUED if number % 3 else Status.RUNNING) for number in range(60)]
    looked = set[str]()
    for number in range(1, 200):
        chosen = due(tasks, number * FAST, 5)
        assert len(chosen) <= 5
        for task in chosen:
            looked.add(task.id)
            task.looked_at = number * FAST
    assert len(looked) == len(tasks)


class Model:
    """What a reader knows who applies each event: the newest state of each task."""

    def __init__(self) -> None:
        self.seen = 0
        self.state: dict[str, bytes] = {}

    def read(self, log: EventLog) -> None:
        for event in log.since(self.seen):
            name, _, _ = event.partition(b"=")
            self.state[name.decode()] = event
        self.seen = log.number


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.booleans()), max_size=60))
def test_who_reads_now_and_then_knows_the_newest_state_of_each_task(changes: list[tuple[str, bool, bool]]) -> None:
    log, reader, truth = EventLog(), Model(), dict[str, bytes]()
    for number, (task, ended, reads) in enumerate(changes):
        truth[task] = f"{task}={number}".encode()
        log.put(task, truth[task], ended=ended)
        if reads:
            reader.read(log)
    reader.read(log)
    assert reader.state == truth
    assert log.forgotten == 0


def test_a_log_says_what_it_has_forgotten() -> None:
    log = EventLog(most_ended=2)
    log.put("waits", b"w", ended=False)
    for name in ("a", "b", "c"):
        log.put(name, name.encode(), ended=True)

    assert log.since(0) == [b"w", b"b", b"c"]
    assert log.forgotten == 2
    assert log.unfinished() == [b"w"]


def test_a_log_holds_no_more_bytes_than_it_may() -> None:
    log = EventLog(most_bytes=25)
    for number in range(5):
        log.put(str(number), b"0123456789", ended=False)
    assert (len(log.since(0)), log.forgotten) == (2, 3)


@pytest.mark.parametrize("text", ["", "x", ".", "a.", ".1", "a.b", "a.-1", "a.1.2", "a." + "9" * 19, "a.²"])
def test_what_is_no_cursor_of_ours_is_none(text: str) -> None:
    assert Cursor.parse(text) is None


def test_a_cursor_comes_back_as_it_went() -> None:
    assert Cursor.parse(str(Cursor("ab12", 34))) == Cursor("ab12", 34)


def test_a_long_view_is_shortened_and_says_so() -> None:
    view = {"id": "t", "context": None, "images": [{"url": "u" * 500}] * 50, "warnings": ["w"] * 20}
    short = shortened(view)
    assert short["shortened"] is True
    assert len(encode(short)) < 4096
    assert shortened({**view, "images": []}) == {**view, "images": []}

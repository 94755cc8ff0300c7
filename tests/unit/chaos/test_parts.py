"""What a trial reads: histories, messages on their way, and the logs of runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.history import Event, History, Kind, parse, read
from tests.chaos.pods import runs_of
from tests.chaos.proxy import message_of, published, request_of
from tests.chaos.trial import unfinished_tasks

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
facts = st.dictionaries(st.text(max_size=8).filter(lambda name: name not in {"at", "kind"}), json_values, max_size=4)
events = st.builds(Event, st.integers(0, 2**31).map(float), st.sampled_from(list(Kind)), facts)


@given(st.lists(events, max_size=5), st.integers(min_value=0, max_value=10))
def test_a_history_is_read_as_it_was_written_up_to_where_it_was_cut_off(wrote: list[Event], cut: int) -> None:
    lines = [event.line() for event in wrote]
    assert parse(lines) == wrote
    assert parse([*lines, '{"at": 1, "kind": "wri'[: cut + 1]]) == wrote


def test_a_history_is_in_its_file_as_soon_as_it_happens(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.add(Kind.CANCEL, task="t", status=200)
    assert read(history.path)[0].facts == {"task": "t", "status": 200}
    history.close()
    history.add(Kind.CANCEL, task="late", status=200)
    assert len(read(history.path)) == 1


@given(st.text(max_size=50))
def test_whatever_lies_in_a_queue_is_known_or_unknown(body: str) -> None:
    assert message_of(body) == ("", "")


def test_a_task_message_tells_its_task_submission_and_request() -> None:
    body = json.dumps({"metadata": {"id": "t", "submission": "s", "context": {"request": "t/1"}}})
    assert message_of(body) == ("t", "s")
    assert request_of(body) == "t/1"
    assert request_of(json.dumps({"metadata": {"id": "t"}})) == ""


def test_callbacks_are_found_in_a_publish_and_in_a_batch() -> None:
    one = {
        "Message": "{}",
        "MessageAttributes.entry.1.Name": "id",
        "MessageAttributes.entry.1.Value.StringValue": "t",
        "MessageAttributes.entry.2.Name": "submission",
        "MessageAttributes.entry.2.Value.StringValue": "s",
    }
    assert published(one) == [("{}", "s")]
    batch = {f"PublishBatchRequestEntries.member.{number}.{name}": one[name] for name in one for number in (1, 2)}
    assert published(batch) == [("{}", "s"), ("{}", "s")]


def test_jobs_are_read_from_a_runtime_s_log_those_that_ended_with_it_too() -> None:
    def line(**entry: Any) -> str:
        return json.dumps(entry)

    log = "\n".join(
        [
            "fake sdwebui listening",
            line(event="job began", job="1", prompt="<<t/1>> a dog", timestamp="2026-01-01T00:00:00Z"),
            line(event="job ended", job="1", outcome="succeeded", timestamp="2026-01-01T00:00:03Z"),
            line(event="job began", job="2", prompt="<<t/2>>", timestamp="2026-01-01T00:00:01Z"),
            line(event="job began", job="3", prompt="somebody else's", timestamp="2026-01-01T00:00:01Z"),
        ]
    )
    assert [(run["request"], run["outcome"]) for run in runs_of(log)] == [("t/1", "succeeded"), ("t/2", "crashed")]
    assert runs_of(log)[1]["began"] - runs_of(log)[0]["began"] == 1
    assert runs_of(log)[0]["ended"] - runs_of(log)[0]["began"] == 3


def test_a_task_is_waited_for_until_it_ends_unless_its_client_was_refused() -> None:
    def write(status: str) -> Event:
        current = {"submission": "s", "status": status, "context": {"request": "t/1"}}
        return Event(1, Kind.WRITE, {"task": "t", "record": {"current": current, "earlier": {}}})

    def answer(outcome: str) -> Event:
        return Event(2, Kind.REQUEST, {"request": "t/1", "task": "t", "outcome": outcome})

    assert unfinished_tasks([write("queued"), answer("accepted")]) == ["t"]
    assert unfinished_tasks([write("queued"), answer("refused")]) == []
    assert unfinished_tasks([write("queued"), write("running"), answer("refused")]) == ["t"]
    assert unfinished_tasks([write("queued"), write("failed"), answer("accepted")]) == []
    assert unfinished_tasks([answer("accepted")]) == ["t/1"]

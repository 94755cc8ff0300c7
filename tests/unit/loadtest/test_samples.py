"""Samples: GPU time from counters that restart, files that were cut off, and what the sources tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.observe.compose import agents_in, replicas_in
from loadtest.observe.metrics import busy_seconds
from loadtest.observer import Observer
from loadtest.samples import Replicas, Sample, read_samples, usage_between
from loadtest.watch import WatchError, events, seen_in
from tests.unit.loadtest.support import BEGAN, sample


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 30))
def test_busy_time_is_never_negative_nor_more_than_there_was_though_a_runtime_restarts(
    shares: list[float], restarted_at: int
) -> None:
    total, samples = 0.0, []
    for at, share in enumerate(shares):
        total = 0.0 if at == restarted_at else total + share
        samples.append(sample(at, busy=total))
    use = usage_between(samples, BEGAN, BEGAN + len(shares))
    assert use.available == pytest.approx(len(shares) - 1)
    assert 0 <= use.busy <= use.available + 1e-6
    assert use.idle_share is not None
    assert 0 <= use.idle_share <= 1


def test_a_gpu_counts_from_when_it_is_first_seen() -> None:
    early = [Sample(at=BEGAN + at, busy={"a/1": at * 1.0}) for at in range(5)]
    late = [Sample(at=BEGAN + at, busy={"a/1": at * 1.0, "a/2": 0.0, "b/1": 0.0}) for at in range(5, 11)]
    use = usage_between([*early, *late], BEGAN, BEGAN + 10)
    assert (use.available, use.busy) == (20, 10)
    assert usage_between([*early, *late], BEGAN, BEGAN + 10, "b").available == 5


def test_nothing_seen_is_no_idleness() -> None:
    assert usage_between([sample(0), sample(1)], BEGAN, BEGAN + 1).idle_share is None


def test_a_file_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(sample(1).model_dump_json() + "\n" + sample(2).model_dump_json()[:20])
    assert read_samples(path) == [sample(1)]


def test_a_folder_that_is_used_again_holds_the_samples_of_the_last_run_alone(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(sample(1).model_dump_json() + "\n")
    observer = Observer([], path, lambda: {"arrived": 7})
    observer.start()
    observer.stop()
    assert {found.arrived for found in read_samples(path)} == {7}


class Gpu:
    """A source that counts a second of work at each look, of which there is one in a while."""

    name = "gpu"
    every = 30.0

    def look(self) -> dict[str, Any]:
        """Returns it."""
        return {"busy": {"a/1": 1.0}, "nodes": {"gpu": 1}}


def test_a_counter_is_told_once_for_each_look_and_a_state_until_the_next(tmp_path: Path) -> None:
    observer = Observer([Gpu()], tmp_path / "samples.jsonl", dict)
    observer.start()
    gevent.sleep(0.05)
    observer.stop()
    told = [found for found in observer.samples if found.nodes]
    assert [bool(found.busy) for found in observer.samples].count(True) == 1
    assert told[-1] is observer.samples[-1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("# HELP x\nfake_runtime_gpu_busy_seconds_total 12.5\n", 12.5),
        ("darkroom_agent_idle_seconds_total 1\ndarkroom_agent_busy_seconds_total 3.0 1700000000\n", 3.0),
        ('darkroom_agent_busy_seconds_total{runtime="a"} 4\n', 4.0),
        ("darkroom_agent_busy_seconds_total\n", None),
        ("something_else 1\n", None),
        ("", None),
    ],
)
def test_busy_seconds_are_read_from_the_runtimes_or_the_agents_metrics(text: str, seconds: float | None) -> None:
    assert busy_seconds(text) == seconds


@given(st.text())
def test_no_page_of_metrics_breaks_the_reader(text: str) -> None:
    assert busy_seconds(text) is None or isinstance(busy_seconds(text), float)


def test_composes_containers_are_counted_by_runtime() -> None:
    lines = [
        '{"Service": "sdruntime", "State": "running", "Health": "healthy"}',
        '{"Service": "sdruntime-agent", "State": "running", "Health": "healthy"}',
        '{"Service": "sdruntime-2-agent", "State": "running", "Health": "starting"}',
        '{"Service": "comfyruntime-agent", "State": "exited", "Health": ""}',
        "not JSON",
    ]
    assert replicas_in(agents_in(lines, ["sdruntime", "comfyruntime"])) == {"sdruntime": Replicas(ready=1, starting=1)}


def test_a_runtime_whose_name_begins_with_anothers_keeps_its_containers() -> None:
    services = ["sd-agent", "sd-xl-agent", "sd-xl-2-agent", "sdagent", "sd-agent-agent"]
    lines = [json.dumps({"Service": name, "State": "running", "Health": "healthy"}) for name in services]
    counts = {"sd": 1, "sd-xl": 2, "sd-agent": 1}
    for order in (list(counts), list(reversed(counts))):
        assert replicas_in(agents_in(lines, order)) == {name: Replicas(ready=count) for name, count in counts.items()}


def test_server_sent_events_are_read_with_their_comments_and_torn_data() -> None:
    lines = iter(["retry: 1000\n", "\n", "event: x\n", 'data: {"a":\n', "data: 1}\n", "\n", ": still here\n", "\n"])
    assert list(events(lines)) == [{"a": 1}]


def test_an_answer_that_is_no_task_is_told_from_one_that_is() -> None:
    view = {
        "status": "succeeded",
        "submitted_at": "2026-03-01T12:00:00Z",
        "started_at": "2026-03-01T12:00:01Z",
        "finished_at": None,
        "attempts": 1,
        "images": [1, 2],
        "timings": {"generation": 0.5},
        "error": None,
    }
    seen = seen_in(view)
    assert (seen.images, seen.generation, seen.finished_at) == (2, 0.5, None)
    assert (seen.started_at or 0) - seen.submitted_at == 1
    with pytest.raises(WatchError):
        seen_in({"status": "succeeded"})

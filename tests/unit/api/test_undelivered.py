"""Where what SNS could not deliver belongs, how often it is sent, and what its record says in the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.sweeps.sweeper import wait_after
from api.sweeps.undelivered import LONGEST_DELAY, LONGEST_HOLD, delay, given_up, hold, queue_of
from contract.config import parse_config
from contract.identifiers import TaskRef
from contract.record import Status, Submission, request_cancel, start, submit
from contract.task import Metadata, TaskType
from contract.topology import topology
from tests.support.deployment import CONFIG

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = topology(parse_config(CONFIG.format(stack="stack")))
HELD = "v1-5-pruned-emaonly.safetensors"


def metadata(runtime: str = "comfyruntime", **more: Any) -> Metadata:
    return Metadata(id="t", runtime=runtime, tasktype=TaskType.PIPELINE, prefix="output", submission="s", **more)


@pytest.mark.parametrize(
    ("attributes", "runtime", "wanted"),
    [
        ({"runtime": "comfyruntime"}, "comfyruntime", "comfyruntime"),
        ({"sd_model_checkpoint": HELD}, "elsewhere", "sdruntime"),
        ({"runtime": "dynamicruntime", "sd_model_checkpoint": "other"}, "dynamicruntime", "dynamicruntime"),
        ({}, "comfyruntime", "comfyruntime"),
        ({"runtime": "gone"}, "gone", None),
    ],
)
def test_a_message_goes_to_the_queue_that_would_have_taken_it(
    attributes: dict[str, str], runtime: str, wanted: str | None
) -> None:
    found = queue_of(PLACE, attributes, metadata(runtime))
    assert (found.runtime if found else None) == wanted


@given(st.integers(0, 1000), st.floats(0.1, 1000))
def test_delays_grow_and_are_what_sqs_takes(tries: int, first: float) -> None:
    assert 1 <= delay(tries, first) <= delay(tries + 1, first) <= LONGEST_DELAY


@pytest.mark.parametrize(("interval", "seconds"), [(0.1, 5), (2, 8), (30, LONGEST_HOLD), (3600, LONGEST_HOLD)])
def test_what_a_process_took_that_died_comes_back_within_a_few_looks(interval: float, seconds: int) -> None:
    assert hold(interval) == seconds


def test_the_shipped_number_of_tries_takes_hours() -> None:
    assert 6 * 3600 < sum(delay(tries, 30) for tries in range(1, 30)) < 8 * 3600


def test_a_failed_sweep_is_tried_again_soon_and_then_more_rarely() -> None:
    assert [wait_after(failures, 21600) for failures in (1, 2, 3, 1000)] == [30, 60, 120, 600]
    assert wait_after(1, 1) == 1


def test_what_no_queue_takes_fails_and_owes_a_callback_with_a_record_or_without() -> None:
    waiting = Submission(
        submission="s", runtime="comfyruntime", tasktype=TaskType.PIPELINE, prefix="output", submitted_at=NOW
    )
    for record in (None, submit(None, TaskRef("t"), waiting)):
        ended = given_up(record, metadata(), now=NOW).current
        assert (ended.submission, ended.status, ended.owes_callback) == ("s", Status.FAILED, True)
        assert ended.error is not None
        assert ended.error.code == "undeliverable"
    tagged = given_up(None, metadata(tags={"team": "a"}, environment="e" * 64), now=NOW).current
    assert (tagged.tags, tagged.wants_environment) == ({"team": "a"}, "e" * 64)
    running = start(submit(None, TaskRef("t"), waiting), "s", holder="h", now=NOW)
    cancelled = request_cancel(submit(None, TaskRef("t"), waiting), now=NOW)
    for record in (running, cancelled, request_cancel(running, now=NOW)):
        assert given_up(record, metadata(), now=NOW) == record, "who has it, ends it"

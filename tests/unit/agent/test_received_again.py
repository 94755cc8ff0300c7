"""A task that is received again and again is told of with its age: SQS' own metric leaves it out."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from agent.holdings import Delivery, Held, Holdings
from agent.preparation import Preparation
from contract.task import RuntimeType

MESSAGE = {
    "metadata": {"id": "cat", "runtime": "sdruntime", "tasktype": "text-to-image", "prefix": "cats", "submission": "s"},
    "content": {"prompt": "a cat"},
}


def told(receives: int, waited: float | None) -> list[dict[str, Any]]:
    """Returns the lines about a message that is received for the nth time, so many seconds after it was sent."""
    anybody = cast("Any", None)
    preparation = Preparation(
        holdings=Holdings(),
        store=anybody,
        lists=anybody,
        payloads=anybody,
        runtime=anybody,
        runtime_type=RuntimeType.SDWEBUI,
        visibility_timeout=60,
    )
    held = Held(Delivery("m", "r", json.dumps(MESSAGE), receive_count=receives, waited=waited))
    with capture_logs() as lines:
        assert preparation.read(held) is None
    return [dict(line) for line in lines if line["event"] == "task_received_again"]


def test_a_task_that_was_handed_back_ten_times_is_told_of_with_its_age() -> None:
    [line] = told(11, 5400.4)
    assert (line["runtime"], line["receives"], line["age_seconds"]) == ("sdruntime", 11, 5400)


@pytest.mark.parametrize(("receives", "waited"), [(1, 10.0), (2, 10.0), (3, None)])
def test_what_sqs_tells_of_itself_is_not_told_twice(receives: int, waited: float | None) -> None:
    assert told(receives, waited) == []


def test_from_the_third_receipt_on_it_is_told() -> None:
    assert [line["age_seconds"] for line in told(3, 60.0)] == [60]

"""How long a submission waits is a number within bounds, and what it waits for is its own end."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from api.errors import ApiError, InvalidRequestError, UnavailableError
from api.unsettled import Ticket
from api.waiting import parse_wait, wait_for_end
from contract.identifiers import TaskRef
from contract.record import Record, Status, Submission
from contract.task import TaskType

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TICKET = Ticket(TaskRef("t"), "ours", NOW)


@pytest.mark.parametrize(("text", "seconds"), [(None, 0), ("0", 0), ("2.5", 2.5), ("60", 60)])
def test_seconds_are_taken_within_bounds(text: str | None, seconds: float) -> None:
    assert parse_wait(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "60.1", "nan", "inf", "true", "30s"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="seconds from 0 to 60"):
        parse_wait(text)


def submission(name: str, status: Status) -> Submission:
    return Submission(
        submission=name,
        runtime="sdruntime",
        tasktype=TaskType.TEXT_TO_IMAGE,
        prefix="output",
        status=status,
        submitted_at=NOW,
    )


class Reads:
    """Answers each read with the next of these, and the last one for ever."""

    def __init__(self, *answers: Record | ApiError) -> None:
        self._answers = list(answers)

    async def read(self, task: TaskRef) -> Record:
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, ApiError):
            raise answer
        return answer


async def wait(*answers: Record | ApiError, gone: bool = False, seconds: float = 5) -> Record | None:
    async def has_gone() -> bool:
        return gone

    reads = cast("Any", Reads(*answers))
    return await wait_for_end(reads, TICKET, seconds, stopping=asyncio.Event(), gone=has_gone)


async def test_it_waits_for_its_own_submission_though_the_id_was_submitted_again_and_s3_is_away() -> None:
    newer = submission("newer", Status.QUEUED)
    ours = {status: submission("ours", status) for status in (Status.RUNNING, Status.SUCCEEDED)}
    running, ended = (Record(id="t", current=newer, earlier={"ours": item}) for item in ours.values())

    found = await wait(UnavailableError("S3 is away"), running, ended)

    assert found is not None
    assert found.current == ours[Status.SUCCEEDED]


async def test_it_gives_up_when_its_time_is_over_or_its_client_has_gone() -> None:
    running = Record(id="t", current=submission("ours", Status.RUNNING))
    assert await wait(running, seconds=0.01) is None
    assert await wait(running, gone=True) is None

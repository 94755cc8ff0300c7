"""The usage: every task that has used a GPU counts once, whoever has booked it and how often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest

from api.errors import ApiError
from api.usage import Usage, UsageQuery, parse_usage_query
from contract.costs import GpuPrice, charged
from contract.identifiers import TaskRef
from contract.record import Status, Submission
from contract.task import TaskType
from contract.task_lists import TaskLists
from contract.task_log import FULL, moment
from tests.unit.promise.cloud import BUCKET, Cloud, Process

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
PRICE = GpuPrice(None, "nobody knows")


def ended(number: int, *, usd: float | None = 0.5, at: datetime = NOON, **more: Any) -> Submission:
    cost = charged(None, 2, PRICE).model_copy(update={"usd": usd})
    return Submission(
        **{
            "submission": f"s{number}",
            "runtime": "r",
            "tasktype": TaskType.PIPELINE,
            "prefix": "p",
            "status": Status.SUCCEEDED,
            "submitted_at": at,
            "finished_at": at,
            "cost": cost,
            **more,
        }
    )


class Place:
    """A bucket, and the processes that write into it."""

    def __init__(self) -> None:
        self.cloud = Cloud()
        self.cloud.network.calm = True
        self.usage = Usage(s3=self.client(), bucket=BUCKET)

    def client(self) -> Any:
        return self.cloud.client(Process("x"))

    async def book(self, *tasks: Submission, tenant: str = "", lists: TaskLists | None = None) -> None:
        lists = lists or TaskLists(self.client(), BUCKET)
        waits = [lists.used(TaskRef(task.submission.replace("s", "t"), tenant), task) for task in tasks]
        for wait in waits:
            if wait is not None:
                await wait()

    async def ask(self, by: str = "", tenant: str | None = "", *, days: int = 1) -> dict[str, Any]:
        since = NOON.replace(hour=0)
        query = UsageQuery(
            tuple(part for part in by.split(",") if part), moment(since), moment(since + timedelta(days))
        )
        return await self.usage.sum_up(tenant, query)


async def test_sums_are_by_what_was_asked_for_and_add_up_to_the_total() -> None:
    place = Place()
    await place.book(
        ended(1, tags={"team": "a"}, usd=0.1),
        ended(2, tags={"team": "a", "job": "x"}, usd=0.2),
        ended(3, runtime="other", usd=0.4),
    )

    assert [(row["tag:team"], row["usd"]) for row in (await place.ask("tag:team"))["rows"]] == [
        (None, 0.4),
        ("a", 0.3),
    ]
    assert [(row["tag"], row["usd"]) for row in (await place.ask("tag"))["rows"]] == [
        (None, 0.4),
        ("job=x, team=a", 0.2),
        ("team=a", 0.1),
    ]
    both = await place.ask("runtime,key")
    assert [(row["runtime"], row["key"], row["tasks"]) for row in both["rows"]] == [("other", "", 1), ("r", "", 2)]
    assert both["total"] == {"tasks": 3, "gpu_seconds": 6.0, "usd": 0.7, "unpriced_tasks": 0}
    assert (await place.ask())["rows"] == []


async def test_a_task_that_two_processes_have_booked_counts_once() -> None:
    place = Place()
    for _ in range(3):
        await place.book(ended(1), ended(2))
    assert (await place.ask())["total"]["tasks"] == 2


async def test_of_many_tasks_each_counts_and_objects_are_read_not_tasks() -> None:
    place = Place()
    lists = TaskLists(place.client(), BUCKET)
    count = 5 * FULL
    for number in range(0, count, 40):
        await place.book(*(ended(at) for at in range(number, number + 40)), lists=lists)
    assert (await place.ask())["total"]["tasks"] == count
    assert len(place.cloud.objects) <= count / FULL + 1


async def test_only_what_has_ended_in_the_span_counts() -> None:
    place = Place()
    days = [NOON + timedelta(days=day) for day in (-1, 0, 1, 2)]
    await place.book(*(ended(number, at=at) for number, at in enumerate(days)))
    assert (await place.ask())["total"]["tasks"] == 1
    assert (await place.ask(days=2))["total"]["tasks"] == 2


async def test_a_tenant_sees_its_own_and_only_everybodys_sum_has_all() -> None:
    place = Place()
    await place.book(ended(1), tenant="alice")
    await place.book(ended(2), ended(3), tenant="days")
    await place.book(ended(4))
    assert [(await place.ask(tenant=name))["total"]["tasks"] for name in ("alice", "days", "", "bob")] == [1, 2, 1, 0]
    with mock.patch.object(Usage, "_tenants", return_value=["", "alice", "days"]):
        rows = (await place.ask("key", None))["rows"]
    assert {row["key"]: row["tasks"] for row in rows} == {"": 1, "alice": 1, "days": 2}


async def test_a_price_that_is_not_known_leaves_the_sum_unknown_and_says_of_how_many() -> None:
    place = Place()
    await place.book(ended(1), ended(2, usd=None))
    assert (await place.ask())["total"] == {"tasks": 2, "gpu_seconds": 4.0, "usd": None, "unpriced_tasks": 1}


async def test_a_submission_without_a_cost_is_not_booked() -> None:
    place = Place()
    await place.book(ended(1, cost=None))
    assert not place.cloud.objects


async def test_more_rows_than_an_answer_holds_are_one_sum() -> None:
    place = Place()
    await place.book(*(ended(number, tags={"n": str(number)}) for number in range(5)))
    with mock.patch("api.usage.MOST_ROWS", 2):
        answer = await place.ask("tag")
    assert (len(answer["rows"]), answer["rest"]["tasks"], answer["total"]["tasks"]) == (2, 3, 5)


async def test_more_tasks_than_one_answer_sums_up_are_refused_with_a_way_out() -> None:
    place = Place()
    await place.book(*(ended(number) for number in range(5)))
    with mock.patch("api.usage.MOST_LINES", 4), pytest.raises(ApiError, match="shorter span"):
        await place.ask()


def test_without_a_span_it_is_the_day_so_far() -> None:
    query = parse_usage_query({}, NOON)
    assert (query.since, query.until) == ("2026-01-31T00:00:00.000000Z", "2026-01-31T12:00:00.000000Z")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"by": "colour"}, "key, runtime, tag, tag:NAME"),
        ({"by": "tag:"}, "unknown"),
        ({"by": "tag:a,tag:b,tag:c,tag:d,tag:e"}, "at most"),
        ({"from": "yesterday"}, "ISO 8601"),
        ({"from": "2026-02-01"}, "later than"),
        ({"from": "2024-01-01"}, "366 days"),
        ({"since": "2026-01-01"}, "since"),
    ],
)
def test_what_cannot_be_summed_up_is_refused_by_name(parameters: dict[str, str], words: str) -> None:
    with pytest.raises(ApiError, match=words):
        parse_usage_query(parameters, NOON)

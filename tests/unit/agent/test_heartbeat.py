"""Held messages stay invisible, and one that is lost is known to be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.heartbeat import Heartbeat
from agent.holdings import Delivery, Held, Holdings
from agent.operations.metrics import Metrics
from agent.task_queue import TaskQueue


class ScriptedQueue(TaskQueue):
    """A queue that answers as told."""

    def __init__(self) -> None:
        self.answers: dict[str, bool] = {}
        self.broken = False
        self.renewed: list[list[str]] = []

    async def renew(self, held: Iterable[Held]) -> dict[str, bool]:
        ids = [item.delivery.message_id for item in held]
        self.renewed.append(ids)
        if self.broken:
            raise TimeoutError
        return {name: self.answers[name] for name in ids if name in self.answers}


def make(*ids: str) -> tuple[ScriptedQueue, Holdings, Heartbeat]:
    queue, holdings = ScriptedQueue(), Holdings()
    for name in ids:
        holdings.add(Delivery(name, f"receipt-{name}", "{}"))
    return queue, holdings, Heartbeat(queue, holdings, Metrics("r"), visibility_timeout=60)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from([True, False, None]), max_size=20))
def test_exactly_those_that_sqs_calls_lost_are_lost(answers: dict[str, bool | None]) -> None:
    queue, holdings, heartbeat = make(*answers)
    queue.answers = {name: value for name, value in answers.items() if value is not None}

    assert asyncio.run(heartbeat.beat())

    assert {held.delivery.message_id: held.lost for held in holdings} == {
        name: value is False for name, value in answers.items()
    }


async def test_a_lost_message_is_not_renewed_again() -> None:
    queue, _, heartbeat = make("a", "b")
    queue.answers = {"a": False, "b": True}

    await heartbeat.beat()
    await heartbeat.beat()

    assert queue.renewed == [["a", "b"], ["b"]]


async def test_an_outage_loses_nothing_but_the_confirmation() -> None:
    queue, holdings, heartbeat = make("a")
    (held,) = holdings
    before = held.confirmed_at
    queue.broken = True

    assert not await heartbeat.beat()

    assert not held.lost
    assert held.confirmed_at == before
    assert held.is_stale(0)
    assert not held.is_stale(60)


async def test_a_redelivery_of_a_held_message_keeps_the_newer_receipt() -> None:
    _, holdings, _ = make("a")
    (held,) = holdings
    held.lost = True

    assert holdings.add(Delivery("a", "newer", "{}", receive_count=2)) is None

    assert held.delivery.receipt_handle == "newer"
    assert not held.lost
    assert len(holdings) == 1


async def test_a_message_that_comes_again_while_it_is_handed_back_is_taken_in_anew() -> None:
    _, holdings, _ = make("a")
    (held,) = holdings
    held.released = True

    again = holdings.add(Delivery("a", "newer", "{}", receive_count=2))
    holdings.discard(held)

    assert again is not None
    assert list(holdings) == [again]


async def test_what_sqs_says_of_an_older_receipt_is_not_said_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, holdings, heartbeat = make("a")
    (held,) = holdings
    queue.answers = {"a": False}
    renew = queue.renew

    async def renew_while_it_comes_again(items: Iterable[Held]) -> dict[str, bool]:
        answers = await renew(items)
        holdings.add(Delivery("a", "newer", "{}", receive_count=2))
        return answers

    monkeypatch.setattr(queue, "renew", renew_while_it_comes_again)

    await heartbeat.beat()

    assert not held.lost


async def test_without_messages_nothing_is_asked() -> None:
    queue, _, heartbeat = make()

    assert await heartbeat.beat()

    assert queue.renewed == []

"""Polling: everybody in turn, several at once, never faster than allowed, and nobody twice at once."""

from __future__ import annotations

import time
from collections import Counter

import gevent
import pytest

from loadtest.polling import poll, polling_rate
from loadtest.tasks import Task
from tests.unit.loadtest.support import task


def test_slow_answers_delay_no_other_question_and_the_rate_is_kept() -> None:
    tasks = [task(number, seconds=None) for number in range(60)]
    asked, under_way, most = Counter[str](), set[str](), 0

    def ask(one: Task) -> None:
        nonlocal most
        assert one.id not in under_way, "nobody is asked twice at once"
        under_way.add(one.id)
        most = max(most, len(under_way))
        asked[one.id] += 1
        gevent.sleep(0.05)
        under_way.remove(one.id)

    began = time.monotonic()
    polling = gevent.spawn(poll, lambda: tasks, ask, 100.0)
    with gevent.Timeout(30):
        while min(asked[one.id] for one in tasks) < 2:
            gevent.sleep(0.01)
    polling.kill()
    assert 1 < most <= 16
    assert asked.total() <= (time.monotonic() - began) * 100 + 1
    assert max(asked.values()) - min(asked.values()) <= 1, "in turn"


@pytest.mark.parametrize(
    ("limit", "workers", "rate"), [(30, 1, 10), (30, 2, 5), (1000, 1, 100), (0.5, 1, 1), (1000, 4, 25)]
)
def test_submissions_keep_two_thirds_of_what_the_api_allows(limit: float, workers: int, rate: float) -> None:
    assert polling_rate(limit, workers) == pytest.approx(rate)

"""The rule of fair queues, by the numbers that AWS documents."""

from __future__ import annotations

import pytest

from loadtest.planner.arrivals import Tagged
from loadtest.planner.fairness import RECENT, SILENCE, FairQueue


class Case:
    """A queue and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = FairQueue(lambda: self.now)

    def send(self, tenant: str, count: int = 1) -> None:
        for _ in range(count):
            self.queue.append(Tagged(self.now, tenant))

    def take(self, count: int = 1) -> list[Tagged]:
        found = [self.queue.popleft() for _ in range(count)]
        assert all(isinstance(item, Tagged) for item in found)
        return [item for item in found if isinstance(item, Tagged)]

    def order(self, count: int) -> str:
        """Returns whose the next messages are, each of which is done at once."""
        names = ""
        for _ in range(count):
            [message] = self.take()
            self.queue.ended(message)
            names += message.tenant
        return names


@pytest.mark.parametrize(
    ("in_flight", "others", "noisy"),
    [(29, 0, False), (30, 0, True), (30, 270, False), (31, 270, True), (200, 0, True)],
)
def test_a_tenant_is_noisy_above_a_tenth_of_what_is_in_flight_with_thirty_of_its_own(
    in_flight: int, others: int, noisy: bool
) -> None:
    case = Case()
    for number in range(others):
        case.queue.took(Tagged(0.0, f"other-{number}"))
    for _ in range(in_flight):
        case.queue.took(Tagged(0.0, "a"))
    case.send("a")
    case.now = 0.0  # no time has passed: only what is in flight counts
    case.send("b")
    assert case.order(2) == ("ba" if noisy else "ab")


@pytest.mark.parametrize(("seconds", "others", "noisy"), [(10.0, 90.0, False), (10.1, 89.9, True)])
def test_a_tenant_is_noisy_above_a_tenth_of_the_processing_time(seconds: float, others: float, noisy: bool) -> None:
    case = Case()
    for tenant, spent in (("a", seconds), ("x", others)):
        message = Tagged(0.0, tenant)
        case.now = 0.0
        case.queue.took(message)
        case.now = spent
        case.queue.ended(message)
    case.now = 100.0
    case.send("a")
    case.send("b")
    assert case.order(2) == ("ba" if noisy else "ab")


def test_what_is_processed_counts_while_it_is_and_for_a_while_after() -> None:
    case = Case()
    slow = Tagged(0.0, "a")
    case.queue.took(slow)
    case.now = 50.0
    case.send("a")
    case.send("b")
    assert case.order(2) == "ba", "one long run is enough"
    case = Case()
    case.queue.took(slow)
    case.now = 50.0
    case.queue.ended(slow)
    case.now = 51.0 + RECENT
    case.send("a")
    case.send("b")
    assert case.order(2) == "ab", "it was long ago"


def test_of_several_noisy_tenants_the_one_with_the_fewest_in_flight_is_first_and_nobodys_are_quiet() -> None:
    case = Case()
    for tenant, count in (("a", 40), ("b", 35), ("", 100)):
        for _ in range(count):
            case.queue.took(Tagged(0.0, tenant))
    for tenant in ("a", "b", ""):
        case.send(tenant, 2)
    assert case.order(2) == "", "those of nobody first"
    assert case.order(4) == "bbaa"


def test_a_tenant_is_quiet_again_when_its_backlog_is_empty_or_it_has_long_been_silent() -> None:
    case = Case()
    held = [Tagged(0.0, "a") for _ in range(30)]
    for message in held:
        case.queue.took(message)
    case.send("a", 3)
    case.send("b")
    assert case.order(2) == "ba"
    for message in held:
        case.queue.ended(message)
    case.now = 1.0
    case.send("c")
    assert case.order(1) == "c", "noisy as long as it has a backlog"
    case.now = 2 * SILENCE + RECENT
    case.send("d")
    assert case.order(2) == "aa", "it has sent nothing for five minutes"


def test_what_comes_back_is_the_first_of_its_tenant() -> None:
    case = Case()
    case.send("a", 2)
    first, second = case.take(2)
    case.send("a")
    for message in (first, second):
        case.queue.ended(message)
    case.queue.extendleft(reversed([first, second]))
    assert case.take(2) == [first, second]
    assert len(case.queue) == 1

"""What comes alone goes at once; what becomes ready meanwhile goes together; each learns what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.batches import MOST_BYTES, MOST_ENTRIES, Batches, entry_failures
from contract.outages import is_outage


class Service:
    """Keeps the batches that it gets; answers each when the test lets it."""

    def __init__(self, linger: float = 60, *, parallel: int = 1, seconds: float = 60) -> None:
        self.calls: list[list[str]] = []
        self.open = asyncio.Event()
        self.broken: Exception | None = None
        self.sizes: dict[str, int] = {}
        self.expected = 0
        self.batches = Batches(
            self.take,
            weigh=lambda entry: self.sizes.get(entry, 1),
            seconds=seconds,
            parallel=parallel,
            expected=lambda: self.expected,
            linger=linger,
        )

    async def take(self, entries: Sequence[str]) -> Sequence[Exception | None]:
        self.calls.append(list(entries))
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        if "poison" in entries:
            raise ValueError("the call is refused")
        return [ValueError(entry) if entry.startswith("bad") else None for entry in entries]

    def send(self, *entries: str) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.batches.send(entry)) for entry in entries]


async def settled() -> None:
    """Lets everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_comes_alone_goes_at_once_and_what_comes_meanwhile_goes_together() -> None:
    service = Service()
    first = service.send("a")
    await settled()
    assert service.calls == [["a"]]

    more = service.send("b", "c")
    await settled()
    assert service.calls == [["a"]]

    service.open.set()
    await asyncio.gather(*first, *more)
    assert service.calls == [["a"], ["b", "c"]]


async def test_what_is_on_its_way_is_waited_for() -> None:
    service = Service()
    service.open.set()
    service.expected = 3
    first = service.send("a", "b")
    await settled()
    assert service.calls == []

    await asyncio.gather(*first, *service.send("c"))

    assert service.calls == [["a", "b", "c"]]


async def test_what_does_not_come_is_not_waited_for_long() -> None:
    service = Service(linger=0.05)
    service.open.set()
    service.expected = 2

    async with asyncio.timeout(30):
        await service.batches.send("a")

    assert service.calls == [["a"]]


async def test_one_entry_that_is_refused_harms_no_other() -> None:
    service = Service()
    service.open.set()

    outcomes = await asyncio.gather(*service.send("a", "bad", "c"), return_exceptions=True)

    assert service.calls == [["a", "bad", "c"]]
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError, type(None)]


async def test_when_a_call_is_refused_for_one_entry_the_others_are_sent_all_the_same() -> None:
    service = Service()
    service.open.set()

    outcomes = await asyncio.gather(*service.send("a", "poison", "c"), return_exceptions=True)

    assert service.calls == [["a", "poison", "c"], ["a"], ["poison"], ["c"]]
    assert [type(outcome) for outcome in outcomes] == [type(None), ValueError, type(None)]


async def test_a_call_that_fails_fails_for_each_entry_and_the_next_one_is_tried() -> None:
    service = Service()
    service.open.set()
    service.broken = ConnectionResetError()
    failed = await asyncio.gather(*service.send("a", "b"), return_exceptions=True)
    assert [type(outcome) for outcome in failed] == [ConnectionResetError] * 2

    service.broken = None
    await asyncio.gather(*service.send("a", "b"))


async def test_as_many_calls_as_were_said_are_under_way_and_what_comes_then_goes_together() -> None:
    service = Service(parallel=2, linger=0)
    for entry in "abcd":
        service.send(entry)
        await settled()
    assert service.calls == [["a"], ["b"]]

    service.open.set()
    await settled()
    assert service.calls == [["a"], ["b"], ["c", "d"]]

    await asyncio.gather(*service.send("e"))
    assert service.calls[3:] == [["e"]]


async def test_a_call_that_hangs_is_given_up() -> None:
    service = Service(seconds=0.05)

    with pytest.raises(TimeoutError):
        await service.batches.send("a")


async def test_an_entry_that_nobody_waits_for_any_more_is_not_sent() -> None:
    service = Service()
    first = service.send("a")
    await settled()
    waiting = service.send("b", "c")
    await settled()

    waiting[0].cancel()
    service.open.set()
    await asyncio.gather(*first, waiting[1])

    assert service.calls == [["a"], ["c"]]


@given(
    sizes=st.lists(st.sampled_from([1, 1000, 100_000, MOST_BYTES, 2 * MOST_BYTES]), min_size=1, max_size=40),
    parallel=st.integers(1, 4),
)
def test_every_entry_is_sent_once_in_order_and_no_batch_is_too_large(sizes: list[int], parallel: int) -> None:
    async def run() -> None:
        service = Service(parallel=parallel)
        service.open.set()
        names = [str(number) for number in range(len(sizes))]
        service.sizes = dict(zip(names, sizes, strict=True))

        await asyncio.gather(*service.send(*names))

        assert [entry for call in service.calls for entry in call] == names
        assert all(len(call) <= MOST_ENTRIES for call in service.calls)
        # One that is too large by itself goes alone: the service says so, and of nobody else's.
        assert all(
            sum(service.sizes[entry] for entry in call) <= MOST_BYTES or len(call) == 1 for call in service.calls
        )

    asyncio.run(run())


def test_taken_is_only_what_the_answer_calls_taken_and_what_it_does_not_name_may_be_sent_again() -> None:
    answer = {
        "Successful": [{"Id": "0"}],
        "Failed": [
            {"Id": "1", "Code": "InvalidParameter", "SenderFault": True},
            {"Id": "2", "Code": "InternalError", "SenderFault": False},
        ],
    }

    failures = entry_failures(answer, 4, "PublishBatch")

    assert failures[0] is None
    assert [failure is not None and is_outage(failure) for failure in failures] == [False, False, True, True]


@pytest.mark.parametrize("answer", [{}, {"Successful": None, "Failed": None}, {"Successful": [{"Id": "7"}, {}]}])
def test_an_answer_that_names_no_entry_takes_none(answer: dict[str, object]) -> None:
    failures = entry_failures(answer, 2, "PublishBatch")
    assert all(failure is not None and is_outage(failure) for failure in failures)

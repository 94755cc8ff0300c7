"""The GPU does not wait for S3, and an agent that dies loses little of the GPU's time."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from agent.results import BYTES, FEWEST, HEAVY, LEAST, MOST, SECONDS, Results, places


@given(st.floats(0, 10_000), st.floats(0, 1e9))
def test_more_than_a_few_answers_wait_for_s3_only_while_they_are_worth_a_second_and_little_memory(
    seconds: float, size: float
) -> None:
    count = places(seconds, size)

    assert FEWEST <= count <= MOST
    assert count <= FEWEST or count * size <= HEAVY
    assert count >= LEAST or LEAST * size > HEAVY
    if count > LEAST:
        assert count * seconds <= SECONDS
        assert count * size <= BYTES


def test_before_the_first_answer_is_known_a_few_may_wait() -> None:
    assert places(None, None) == LEAST
    assert places(0.0, 0.0) == MOST


async def test_who_waits_for_a_place_gets_it_when_one_is_given_back() -> None:
    results = Results()
    for _ in range(LEAST):
        await results.acquire()
    waiting = [asyncio.create_task(results.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)

    results.release()
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)

    assert sum(task.done() for task in waiting) == 1
    results.release()
    await asyncio.gather(*waiting)


async def test_who_waits_for_a_place_gets_it_once_answers_turn_out_to_be_quick_and_small() -> None:
    results = Results()
    for _ in range(LEAST):
        await results.acquire()
    waiting = asyncio.create_task(results.acquire())
    await asyncio.sleep(0)

    results.note(0.01, 1000)

    await waiting


async def test_one_long_run_takes_the_places_of_short_ones_away() -> None:
    results = Results()
    results.note(0.01, 1000)
    for _ in range(LEAST):
        await results.acquire()
    results.note(20.0, 1000)

    waiting = asyncio.create_task(results.acquire())
    await asyncio.sleep(0)

    assert not waiting.done()
    waiting.cancel()

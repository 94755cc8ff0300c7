"""Bodies never have more room than there is, and each gets its turn."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import UnavailableError
from api.intake import Room


@given(st.lists(st.tuples(st.integers(1, 14), st.integers(0, 3), st.booleans()), max_size=30))
def test_no_more_than_there_is_and_all_is_given_back(bodies: list[tuple[int, int, bool]]) -> None:
    """Each body: its size, how many turns of the loop it stays, and whether its client goes while it waits."""

    async def run() -> None:
        room, inside, served = Room(10), 0, 0

        async def body(size: int, turns: int) -> None:
            nonlocal inside, served
            async with room.take(size):
                inside += min(size, 10)
                assert inside <= 10
                try:
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    served += 1
                finally:
                    inside -= min(size, 10)

        tasks = [asyncio.create_task(body(size, turns)) for size, turns, _ in bodies]
        await asyncio.sleep(0)
        for task, (_, _, goes) in zip(tasks, bodies, strict=True):
            if goes:
                task.cancel()
            await asyncio.sleep(0)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
        assert served >= sum(not goes for _, _, goes in bodies)
        assert room.free == room.capacity

    asyncio.run(run())


async def test_who_waits_too_long_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.intake._WAIT_SECONDS", 0.05)
    room = Room(10)
    async with room.take(8):
        with pytest.raises(UnavailableError) as caught:
            async with room.take(3):
                pass
        assert caught.value.code == "busy"
        assert caught.value.headers["retry-after"]
    assert room.free == 10


async def test_one_key_leaves_half_of_the_room_and_its_place_in_line_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.intake._WAIT_SECONDS", 0.05)
    room = Room(10)
    async with room.take(4, "alice"):
        waiting = asyncio.create_task(room.take(4, "alice").__aenter__())
        await asyncio.sleep(0)
        async with room.take(4, "bob"):
            assert not waiting.done()
        with pytest.raises(UnavailableError):
            await waiting
    async with room.take(8, "alice"):
        assert room.free == 2
    assert room.free == 10

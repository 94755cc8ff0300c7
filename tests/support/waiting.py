"""Waiting for something to become true, with a deadline instead of a sleeping loop."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

_POLL = 0.02
_PATIENCE = 30.0
"""Seconds for what takes a moment on an idle machine: others may have its processors."""
_PORTS = range(10_000, 32_000)
"""Below those that systems give to connections: none of these is taken between a look and its use."""


def eventually[T](check: Callable[[], T], *, within: float = _PATIENCE, every: float = _POLL) -> T:
    """Returns the first truthy answer of `check`, which is asked `every` so many seconds.

    An AssertionError of the check counts as "not yet"; it is raised when `within` seconds have passed.
    """
    deadline = time.monotonic() + within
    while True:
        last: AssertionError | None = None
        try:
            answer = check()
            if answer:
                return answer
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise last or AssertionError(f"did not come true within {within} s; last answer: {answer!r}")
        time.sleep(every)


async def eventually_async[T](check: Callable[[], Awaitable[T]], *, within: float = _PATIENCE) -> T:
    """Returns the first truthy answer of the coroutine function `check`; see `eventually`."""
    deadline = time.monotonic() + within
    while True:
        last: AssertionError | None = None
        try:
            answer = await check()
            if answer:
                return answer
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise last or AssertionError(f"did not come true within {within} s; last answer: {answer!r}")
        await asyncio.sleep(_POLL)


async def until[T](check: Callable[[], T], *, within: float = _PATIENCE) -> T:
    """Returns the first truthy answer of `check`, while the event loop goes on; see `eventually`."""

    async def checked() -> T:
        return check()

    return await eventually_async(checked, within=within)


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on just now."""
    return free_range(1)


def free_range(count: int) -> int:
    """Returns the first of so many neighbouring ports of 127.0.0.1 that nobody listens on just now."""
    while True:
        base = random.choice(_PORTS)  # by chance: neighbours seldom choose the same
        with ExitStack() as probes:
            try:
                for port in range(base, base + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base

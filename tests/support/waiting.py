"""Waiting for something to become true, with a deadline instead of a sleeping loop."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import cache

_POLL = 0.02
PATIENCE = 45.0
"""Seconds for what takes a moment on an idle machine: others may have its processors."""
_PORTS = range(10_000, 32_000)
"""Below those that systems give to connections: none of these is taken between a look and its use."""


def eventually[T](check: Callable[[], T], *, within: float = PATIENCE, every: float = _POLL) -> T:
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


async def eventually_async[T](check: Callable[[], Awaitable[T]], *, within: float = PATIENCE) -> T:
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


async def until[T](check: Callable[[], T], *, within: float = PATIENCE) -> T:
    """Returns the first truthy answer of `check`, while the event loop goes on; see `eventually`."""

    async def checked() -> T:
        return check()

    return await eventually_async(checked, within=within)


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on just now."""
    return free_range(1)


def free_range(count: int) -> int:
    """Returns the first of so many neighbouring ports of 127.0.0.1 that nobody listens on just now.

    None is handed out twice: whoever got it may not listen yet.
    """
    while True:
        base = _own_ports().take(count)
        with ExitStack() as probes:
            try:
                for port in range(base, base + count):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base


class _Ports:
    """Goes through a range of ports, from a random one on: other test runs seldom are at the same."""

    def __init__(self, ports: range) -> None:
        self._ports = ports
        self._next = random.choice(ports)
        self._lock = threading.Lock()

    def take(self, count: int) -> int:
        """Returns the first of the next so many ports."""
        with self._lock:
            if self._next + count > self._ports.stop:
                self._next = self._ports.start
            base, self._next = self._next, self._next + count
            return base


@cache
def _own_ports() -> _Ports:
    """Returns the ports of this process: those of pytest-xdist have a share each."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % count
    share = len(_PORTS) // count
    return _Ports(_PORTS[number * share : (number + 1) * share])

"""Keeps the API of a trial: kills it as planned, and starts it again on the same port."""

from __future__ import annotations

import signal
import threading
import time
from typing import Final

from tests.chaos.history import History, Kind
from tests.chaos.plan import PlannedFault
from tests.support.processes import Process
from tests.support.stack import Stack

_IN_ORDER: Final = frozenset({0, -signal.SIGTERM})
"""Exit statuses of an API that was asked to end; uvicorn ends by the signal when it is done."""
STOP_WITHIN: Final = 30.0
"""Seconds that the API may take to end in order."""


class Front:
    """One API process after the other.

    Args:
        stack: starts processes.
        history: is told of every start, end and fault.
        environment: settings of the API.
    """

    def __init__(self, stack: Stack, history: History, environment: dict[str, str]) -> None:
        self._stack = stack
        self._history = history
        self._environment = environment | {"AWS_ACCESS_KEY_ID": "api"}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._process: Process | None = None
        self._start_at: float | None = None

    def start(self) -> None:
        """Starts the API, and returns once it is ready."""
        self._start().wait_ready()
        self._thread.start()

    def kill(self, fault: PlannedFault) -> None:
        """Kills the API; its successor comes after the fault's seconds."""
        until = round(time.time() + fault.seconds, 3)
        with self._lock:
            if self._process is None:
                self._history.add(Kind.FAULT, fault=fault.kind, target="api", until=until, skipped="it is down already")
                return
            self._history.add(Kind.FAULT, fault=fault.kind, target="api", until=until)
            self._process.kill()
            self._history.add(Kind.ENDED, name="api", status="killed", expected=True)
            self._process, self._start_at = None, time.monotonic() + fault.seconds

    def down(self) -> bool:
        """Tells whether there is no API now."""
        return self._process is None

    def close(self) -> None:
        """Stops keeping; asks the API to end in order, so that nothing is written any more, and notes how it did."""
        self._closing.set()
        self._thread.join(10)
        self._tend(replacing=False)
        if self._process is None:
            return
        self._process.terminate()
        try:
            status, _ = self._process.wait_ended(STOP_WITHIN)
            self._history.add(Kind.ENDED, name="api", status=status, expected=status in _IN_ORDER)
        except AssertionError:
            self._process.kill()
            self._history.add(Kind.ENDED, name="api", status="it does not end", expected=False)

    def _keep(self) -> None:
        while not self._closing.wait(0.1):
            self._tend()

    def _tend(self, *, replacing: bool = True) -> None:
        with self._lock:
            process = self._process
            if process is not None and not process.is_alive():
                status, _ = process.wait_ended(1)
                self._history.add(Kind.ENDED, name="api", status=status, expected=False)
                self._process, self._start_at = None, time.monotonic() + 1.0
            if replacing and self._start_at is not None and time.monotonic() >= self._start_at:
                self._start()

    def _start(self) -> Process:
        port = int(self._stack.api.rpartition(":")[2]) if self._stack.api else 0
        self._start_at = None
        self._process = process = self._stack.start_api(port=port, ready=False, **self._environment)
        self._history.add(Kind.STARTED, name="api", pid=process.pid, log=process.log.name)
        return process

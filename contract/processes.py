"""How processes keep their memory small, and what they tell whoever keeps them running by the way they end."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
from typing import Final, NoReturn

EXIT_RESTART_RUNTIME: Final = 75
"""An agent's exit status that asks for a restart of its runtime and then of itself (sysexits.h, EX_TEMPFAIL).

`local/harness` does so. In Kubernetes the agent's own restart leaves its sidecars alone; a container restart rule with
the action `RestartAllContainers` for this status restarts them too (KEP-5532, beta since 1.36).
"""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
"""glibc's malloc.h."""

_LARGE: Final = 1024 * 1024


def return_memory() -> None:
    """Has memory for large bodies given back as soon as it is freed, where the C library is glibc.

    Once a large piece was freed, glibc takes pieces of that size from its heap, where whatever small lies behind them
    keeps them (mallopt(3), "M_MMAP_THRESHOLD"); and each thread has a heap of its own. A process that has read one
    body of 20 MiB then keeps hundreds of megabytes for good.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _LARGE)
        mallopt(_M_ARENA_MAX, 2)


class OursAlone(logging.Filter):
    """Leaves out of a log what is no fault of ours: that a client of aiohttp's server speaks no HTTP.

    aiohttp logs each such request with a stack trace, and with what was sent.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tells whether a line is to be logged."""
        kind = record.exc_info[0] if record.exc_info else None
        return kind is None or kind.__module__ != "aiohttp.http_exceptions"


def leave(status: int) -> NoReturn:
    """Ends the process, when all is done, without taking the interpreter apart.

    Threads of obstore's may still let go of Python's objects at that moment, of a call that has just ended; Python then
    ends them in the middle of Rust's code, and Rust aborts the process: one of eight ended with status 134.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)

"""What processes tell whoever keeps them running, by the way they end."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, NoReturn

EXIT_RESTART_RUNTIME: Final = 75
"""An agent's exit status that asks for a restart of its runtime and then of itself (sysexits.h, EX_TEMPFAIL).

`local/harness` does so. In Kubernetes the agent's own restart leaves its sidecars alone; a container restart rule with
the action `RestartAllContainers` for this status restarts them too (KEP-5532, beta since 1.36).
"""


def leave(status: int) -> NoReturn:
    """Ends the process, when all is done, without taking the interpreter apart.

    Threads of obstore's may still let go of Python's objects at that moment, of a call that has just ended; Python then
    ends them in the middle of Rust's code, and Rust aborts the process: one of eight ended with status 134.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)

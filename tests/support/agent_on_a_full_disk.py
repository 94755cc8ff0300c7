"""`python -m tests.support.agent_on_a_full_disk`: an agent that can write no byte to any file, its log included."""

from __future__ import annotations

import os
import resource
import sys

from agent.__main__ import main

if __name__ == "__main__":
    full = os.open("/dev/full", os.O_WRONLY)  # every write: ENOSPC (full(4))
    for descriptor in (1, 2):
        os.dup2(full, descriptor)
    # Every write to a regular file: EFBIG (setrlimit(2)); Python ignores the signal that comes with it.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.exit(main())

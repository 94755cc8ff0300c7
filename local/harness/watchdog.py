"""Kills what the harness has started, should the harness vanish without a word; a script with nothing but the library.

It reads process groups from its standard input, a line each: `+123` has been started, `-123` has ended. When the input
ends, which the kernel sees to even if the harness is killed, every group that is left is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def main() -> None:
    """Reads until the input ends, and kills."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):  # it may just have ended
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()

"""How much work an agent takes, and when: the GPU never waits, and nothing is held that others could run sooner.

An agent that holds the next task for as long as one runs keeps it from GPUs that are idle: who of those that wait for a
message gets it is Amazon SQS's choice. So the next task is received a moment before it is needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Final

LOOKAHEAD: Final = 1.0
"""Seconds of work that are made ready ahead when tasks are short."""

MOST_AHEAD: Final = 10
"""Tasks that are made ready ahead at most, unless more are set: what one receive brings (Amazon SQS quotas)."""

LEAD: Final = 1.5
"""Seconds before a run's expected end at which the next task is received, besides what making it ready takes."""

REMEMBERED: Final = 5
"""Runs whose shortest is what the next one is expected to take at least."""

_TELLING: Final = 0.2
"""Progress from which on a run's own pace says more than the last runs'."""

_EARLIER: Final = 0.8
"""Part of what progress says is left: the last steps are often shorter than the first."""


class Pace:
    """What one agent knows of its runs.

    Args:
        prefetch: tasks to make ready while others run; one at most while runs are long.
        slots: runs that may be at the runtime at once.
    """

    def __init__(self, *, prefetch: int, slots: int) -> None:
        self._prefetch = prefetch
        self._slots = slots
        self._most_ahead = 1 if prefetch or slots > 1 else 0
        self._runs: deque[float] = deque(maxlen=REMEMBERED)
        self._run_seconds: float | None = None
        self._preparing = 0.0

    def note_run(self, seconds: float) -> None:
        """Notes how long a run took."""
        self._runs.append(seconds)
        self._run_seconds = recent(self._run_seconds, seconds)

    def note_preparation(self, seconds: float) -> None:
        """Notes how long a task took from its receipt to being ready."""
        self._preparing = recent(self._preparing, seconds)

    def note_long_run(self) -> None:
        """Notes that a run takes longer than work is made ready for."""
        self._run_seconds = None

    def wanted(self, *, waiting: int, running: int, elapsed: float, progress: float) -> tuple[int, float]:
        """Returns how many messages to receive now, and in how many seconds that may be more (0: when things change).

        Args:
            waiting: tasks that are held and not started.
            running: runs that were sent to the runtime.
            elapsed: seconds since the turn of the first of them came.
            progress: of that one, from 0 to 1; 0 when it is not known.
        """
        if until_due(elapsed=0, progress=0, runs=self._runs, preparing=self._preparing) == 0:
            prefetch = ahead(self._prefetch, self._run_seconds)
            return room(prefetch=prefetch, waiting=waiting, free=self._slots - running), 0.0
        if not running:
            return max(0, 1 - waiting), 0.0
        # One ahead, ready or sent to the runtime, is all that a long run needs.
        if self._most_ahead <= waiting + running - 1:
            return 0, 0.0
        due_in = until_due(elapsed=elapsed, progress=progress, runs=self._runs, preparing=self._preparing)
        return (0, due_in) if due_in else (1, 0.0)


def until_due(*, elapsed: float, progress: float, runs: Collection[float], preparing: float) -> float:
    """Returns seconds until the task after the one that runs is to be received; 0 when it is now.

    Args:
        elapsed: seconds since the run began.
        progress: of the run, from 0 to 1; 0 when it is not known.
        runs: how long the last ones took, in seconds.
        preparing: seconds from a receipt to being ready.
    """
    if progress >= _TELLING:
        left = _EARLIER * elapsed * (1 - progress) / progress
    elif runs:
        left = min(runs) - elapsed
    else:
        return 0.0
    return max(0.0, left - LEAD - 2 * preparing)


def ahead(prefetch: int, run_seconds: float | None) -> int:
    """Returns how many tasks to make ready while one runs: so many as run within `LOOKAHEAD`, and at least `prefetch`.

    With one alone, runs that are shorter than a receive and a look at the record would have to wait for both.

    Args:
        prefetch: as set; 0 means none, however short they are.
        run_seconds: how long runs took of late; None when that is not known.
    """
    if prefetch == 0 or run_seconds is None:
        return prefetch
    return max(prefetch, min(MOST_AHEAD, int(LOOKAHEAD / max(run_seconds, LOOKAHEAD / MOST_AHEAD))))


def recent(before: float | None, seconds: float) -> float:
    """Returns how long runs took of late, with one more run: their moving mean, but no less than the last one."""
    return seconds if before is None else max(seconds, 0.7 * before + 0.3 * seconds)


def room(*, prefetch: int, waiting: int, free: int) -> int:
    """Returns how many messages to receive now: what is held ought to be run soon, and not by somebody else.

    Many are received together, when half of them are gone: a receive costs the same for ten as for one.

    Args:
        prefetch: tasks to make ready while others run.
        waiting: tasks that are held and not started.
        free: slots without a run.
    """
    most = max(prefetch, free)
    left = most - waiting
    return left if 2 * left >= most else 0

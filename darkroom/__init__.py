"""A client of Darkroom's API in few calls: `Darkroom` blocks, `AsyncDarkroom` is awaited. See docs/client.md."""

from darkroom.asynchronous import AsyncDarkroom
from darkroom.errors import DarkroomError, NotReachableError, RefusedError
from darkroom.synchronous import Darkroom
from darkroom.task import TERMINAL, Task, TaskFailedError

__all__ = (
    "TERMINAL",
    "AsyncDarkroom",
    "Darkroom",
    "DarkroomError",
    "NotReachableError",
    "RefusedError",
    "Task",
    "TaskFailedError",
)

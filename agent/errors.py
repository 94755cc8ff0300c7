"""The errors that decide what becomes of a task: it fails, it is tried again, or its runtime is waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

PASSING_STATUSES: Final = frozenset({408, 425, 429})
"""HTTP statuses that say 4xx and still may be gone with the next try (RFC 9110, RFC 8470, RFC 6585)."""


MOST_MESSAGE: Final = 2000
"""Characters of an error's message, which the record keeps and every answer about the task repeats."""


class TaskError(Exception):
    """A run that gave no answer.

    Attributes:
        code: a word for programs, in snake_case, such as `input_refused`.
        message: a sentence for the person who sent the task: what is wrong, with which part of it, and the way out.
            It never holds a stack trace, a path of a server, or a credential.
    """

    def __init__(self, code: str, message: str) -> None:
        # It may quote what a task holds, however long that is; a lone surrogate could not be written into the record.
        message = message.encode("utf-8", "replace").decode()
        message = message if len(message) <= MOST_MESSAGE else f"{message[:MOST_MESSAGE]}…"
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class PermanentError(TaskError):
    """Trying again cannot help: bad input, a refused link, the runtime's 4xx, an invalid workflow."""


class TransientError(TaskError):
    """Trying again may help: a 5xx, too little memory, an answer that makes no sense. Counts as an attempt."""


class RuntimeUnavailableError(TaskError):
    """The runtime is not there, or died in the middle. It is waited for, and the task bears no blame."""


def deciding_error(group: BaseExceptionGroup[TaskError]) -> TaskError:
    """Returns the error that decides among several: one permanent fault is enough to fail the task."""
    every = list(_leaves(group))
    return next((error for error in every if isinstance(error, PermanentError)), every[0])


def _leaves(group: BaseExceptionGroup[TaskError]) -> Iterator[TaskError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error

"""One case: a statement about a server, and the check that asks the server whether it is so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any

from tests.conformance.shapes import describe, mismatch


class Mark(StrEnum):
    """What a case needs, so that it can be left out."""

    NEEDS_MODEL = "needs-model"
    """A checkpoint with which the server can make an image."""
    NEEDS_GPU = "needs-gpu"
    """Sampling fast enough for a picture of usual size."""
    NEEDS_START = "needs-start"
    """The server's command line (`--start`): the case starts and ends it."""
    SLOW = "slow"
    """More than a few seconds, or a hundred megabytes."""


class DeviationError(Exception):
    """The server does otherwise than stated.

    Args:
        what: the part of the statement that does not hold.
        expected: what should have come, as `describe` shows it.
        got: what came.
    """

    def __init__(self, what: str, expected: Any, got: Any) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.got = got


class NotApplicableError(Exception):
    """This server cannot be asked; the text says why."""


@dataclass(frozen=True)
class Case:
    """A statement about servers of one type.

    `check` takes the type's own client; it raises DeviationError or NotApplicableError, or returns.
    """

    name: str
    statement: str
    check: Callable[[Any], Awaitable[None]]
    marks: frozenset[Mark] = frozenset()


def case(statement: str, *marks: Mark) -> Callable[[Callable[[Any], Awaitable[None]]], Case]:
    """Makes a case of a check function, whose name in words becomes the case's name."""

    def wrap(check: Callable[[Any], Awaitable[None]]) -> Case:
        return Case(getattr(check, "__name__", "").replace("_", "-"), statement, check, frozenset(marks))

    return wrap


def cases_in(modules: Iterable[ModuleType]) -> tuple[Case, ...]:
    """Returns all cases that modules define, alone or in tuples, in the order of definition.

    Raises:
        ValueError: two have the same name.
    """
    found = tuple(item for module in modules for item in _cases(vars(module).values()))
    names = [item.name for item in found]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"cases of the same name: {', '.join(sorted(twice))}")
    return found


def _cases(values: Iterable[Any]) -> Iterator[Case]:
    for value in values:
        if isinstance(value, Case):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Case))


def check(what: str, expected: Any, got: Any) -> None:
    """Holds what came against a shape (see `shapes`).

    Raises:
        DeviationError: it does not fit; the text names the place.
    """
    if (place := mismatch(expected, got)) is not None:
        raise DeviationError(f"{what}: {place}", describe(expected), got)

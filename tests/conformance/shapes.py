"""Shapes of answers: what must be there, while whatever a newer server adds is noise.

A shape is a value that must be equal, or one of these:

- a type: `int` (no boolean), `float` (whole numbers too), `str`, `bool`, `dict`, `list`;
- a compiled pattern: a string that matches it whole;
- a mapping: these keys at least, each with its shape; `Only(mapping)`: these keys and no others;
- a list: as many items, each with its shape; `Each(shape)`: any number; `Each(shape, least=1)`: at least one;
- `OneOf(a, b)`; `ANY`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final


class Shape(ABC):
    """What a value must look like, where a plain value would say too much."""

    @abstractmethod
    def mismatch(self, got: Any, path: str) -> str | None:
        """See the function."""

    @abstractmethod
    def describe(self) -> Any:
        """See the function."""


@dataclass(frozen=True)
class Only(Shape):
    """A mapping with these keys and no others."""

    keys: Mapping[str, Any]

    def mismatch(self, got: Any, path: str) -> str | None:
        """See the function."""
        if isinstance(got, dict) and (more := sorted(set(got) - set(self.keys))):
            return f"{path or 'it'} has {', '.join(map(str, more))} besides"
        return mismatch(self.keys, got, path)

    def describe(self) -> Any:
        """See the function."""
        return {name: describe(shape) for name, shape in self.keys.items()}


@dataclass(frozen=True)
class Each(Shape):
    """A list whose every item has one shape."""

    shape: Any
    least: int = 0

    def mismatch(self, got: Any, path: str) -> str | None:
        """See the function."""
        if not isinstance(got, list) or len(got) < self.least:
            return _unlike(path, self, got)
        return _first(mismatch(self.shape, item, f"{path}[{index}]") for index, item in enumerate(got))

    def describe(self) -> Any:
        """See the function."""
        return [describe(self.shape), "<…>"]


@dataclass(frozen=True, init=False)
class OneOf(Shape):
    """Any of several shapes."""

    shapes: tuple[Any, ...]

    def __init__(self, *shapes: Any) -> None:
        object.__setattr__(self, "shapes", shapes)

    def mismatch(self, got: Any, path: str) -> str | None:
        """See the function."""
        return None if any(mismatch(shape, got) is None for shape in self.shapes) else _unlike(path, self, got)

    def describe(self) -> Any:
        """See the function."""
        return {"<one of>": [describe(shape) for shape in self.shapes]}


class _Anything(Shape):
    def mismatch(self, got: Any, path: str) -> str | None:
        return None

    def describe(self) -> Any:
        return "<anything>"


ANY: Final = _Anything()
NOTHING: Final = Only({})
"""An empty JSON object."""
UUID: Final = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")


def mismatch(expected: Any, got: Any, path: str = "") -> str | None:
    """Returns where a value does not fit a shape, in words; None when it fits."""
    if isinstance(expected, Shape):
        return expected.mismatch(got, path)
    if isinstance(expected, Mapping):
        return _mapping(expected, got, path)
    if isinstance(expected, list) and isinstance(got, list) and len(got) == len(expected):
        pairs = enumerate(zip(expected, got, strict=True))
        return _first(mismatch(shape, item, f"{path}[{index}]") for index, (shape, item) in pairs)
    return None if _fits(expected, got) else _unlike(path, expected, got)


def describe(expected: Any) -> Any:
    """Returns a shape as JSON that a person can read."""
    match expected:
        case Shape():
            return expected.describe()
        case Mapping():
            return {**{name: describe(shape) for name, shape in expected.items()}, "<…>": "<…>"}
        case list():
            return [describe(item) for item in expected]
        case type():
            return f"<{expected.__name__}>"
        case re.Pattern():
            return f"<{expected.pattern}>"
    return expected


def _mapping(expected: Mapping[str, Any], got: Any, path: str) -> str | None:
    if not isinstance(got, dict):
        return _unlike(path, expected, got)
    if missing := [name for name in expected if name not in got]:
        return f"{path or 'it'} lacks {', '.join(missing)}"
    return _first(mismatch(shape, got[name], f"{path}.{name}" if path else name) for name, shape in expected.items())


def _fits(expected: Any, got: Any) -> bool:
    if isinstance(expected, re.Pattern):
        return isinstance(got, str) and expected.fullmatch(got) is not None
    if expected is float:
        return isinstance(got, int | float) and not isinstance(got, bool)
    if expected is int:
        return isinstance(got, int) and not isinstance(got, bool)
    if isinstance(expected, type):
        return isinstance(got, expected)
    return isinstance(expected, bool) == isinstance(got, bool) and bool(expected == got)


def _first(found: Iterable[str | None]) -> str | None:
    return next((item for item in found if item is not None), None)


def _unlike(path: str, expected: Any, got: Any) -> str:
    return f"{path or 'it'} is {_short(got)}, not {_short(describe(expected))}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}…"

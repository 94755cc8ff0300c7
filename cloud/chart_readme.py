"""Writes the chart's README: `python -m cloud.chart_readme` puts a table of values.yaml and its comments into it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import yaml

from cloud.helm import CHART

README: Final = CHART / "README.md"
_TEMPLATE: Final = CHART / "README.template.md"
_PLACE: Final = "<!-- values -->"

_KEY: Final = re.compile(r"( *)([^\s#:-][^:]*):")
_COMMENT: Final = re.compile(r" *# ?(--)? ?(.*)")


class UndocumentedError(Exception):
    """A value without a comment; the text is its path."""


@dataclass(frozen=True)
class Row:
    """One value: where it stands, what it is for, and its default."""

    path: tuple[str, ...]
    text: str
    default: Any


def rows(text: str) -> list[Row]:
    """Returns each value of a values.yaml that has a `# --` comment, in its order.

    Raises:
        UndocumentedError: a value has none.
    """
    found = list(_commented(text))
    documented = {row.path for row in found}
    for path in _leaves(yaml.safe_load(text)):
        if not any(path[: len(row)] == row for row in documented):
            raise UndocumentedError(".".join(path))
    return found


def readme() -> str:
    """Returns what the README is to be.

    Raises:
        UndocumentedError: a value has no comment.
    """
    template = _TEMPLATE.read_text(encoding="utf-8")
    return template.replace(_PLACE, "\n".join(_tables(rows((CHART / "values.yaml").read_text(encoding="utf-8")))))


def _commented(text: str) -> Iterator[Row]:
    values = yaml.safe_load(text)
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        comment = _COMMENT.fullmatch(line)
        if comment:
            starts, words = comment.groups()
            said = [words] if starts else [*said, words] if said else []
            continue
        key = _KEY.match(line)
        if key:
            indent = len(key[1])
            path = [*(part for part in path if part[0] < indent), (indent, key[2])]
            if said:
                names = tuple(name for _, name in path)
                yield Row(names, " ".join(said), _at(values, names))
        said = []


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def _leaves(values: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(values, dict) and values:
        for name, below in values.items():
            yield from _leaves(below, (*path, name))
    else:
        yield path


def _section(row: Row) -> str:
    """Returns the part of the values that a row belongs to: two names deep where there are parts below parts."""
    return ".".join(row.path[: min(2, len(row.path) - 1)])


def _tables(found: list[Row]) -> Iterator[str]:
    ordered = sorted(found, key=lambda row: list(dict.fromkeys(map(_section, found))).index(_section(row)))
    for section, group in groupby(ordered, key=_section):
        yield from ("", f"### `{section}`", "", "| Parameter | Description | Default |", "| --- | --- | --- |")
        for row in group:
            default = json.dumps(row.default, ensure_ascii=False).replace("|", "\\|")
            yield f"| `{'.'.join(row.path)}` | {row.text.replace('|', '\\|')} | `{default}` |"


def main() -> None:
    """Writes the README."""
    try:
        README.write_text(readme(), encoding="utf-8")
    except UndocumentedError as error:
        sys.exit(f"{CHART.name}/values.yaml: {error} has no `# --` comment above it")


if __name__ == "__main__":
    main()

"""Finds the keys of a request that nobody reads, most of them typos, and says which one was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

HEADER: Final = "x-darkroom-warning"
"""Of an answer to one of the reference's routes. Their answers' bodies are documented to the letter, and the reference
ignores such keys, so clients that send some must go on working."""

SHOWN: Final = 5
"""Keys that an answer names; of more, it tells how many."""

_LONGEST_MEANT: Final = 80
"""Characters of a key that may be a typo: to compare longer ones takes its time, and no key of ours is half as long."""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Returns what is said of a key that is none of the known ones, without the key."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1) if len(key) <= _LONGEST_MEANT else []
    return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known are {', '.join(names)}"


def unknown_keys(model: type[BaseModel], document: Mapping[str, Any], at: str = "") -> tuple[str, ...]:
    """Returns a sentence for each key of a document that neither a model nor one within it has; one for the many."""
    told, more = list[str](), 0
    for place, key, names in _find_unknown(model, document, at):
        if len(told) < SHOWN:
            told.append(f"{place}{_shown(key)}: {unknown_key(key, names)}")
        else:
            more += 1
    return (*told, f"and {more} more") if more else tuple(told)


def count_unknown(model: type[BaseModel], document: Mapping[str, Any]) -> int:
    """Returns how many keys of a document neither a model nor one within it has."""
    _, known, inner = _shape(model)
    keys = document.keys()
    count = 0 if keys <= known else len(keys - known)
    for name, of in inner:
        value = document.get(name)
        if isinstance(value, Mapping):
            count += count_unknown(of, value)
    return count


def _find_unknown(
    model: type[BaseModel], document: Mapping[str, Any], at: str = ""
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields each key of a document that neither a model nor one within it has: its place, itself, and known keys."""
    names, known, inner = _shape(model)
    for key in document:
        if key not in known:
            yield at, key, names
    for name, of in inner:
        value = document.get(name)
        if isinstance(value, Mapping):
            yield from _find_unknown(of, value, f"{at}{name}.")


@cache
def _shape(
    model: type[BaseModel],
) -> tuple[tuple[str, ...], frozenset[str], tuple[tuple[str, type[BaseModel]], ...]]:
    """Returns a model's keys, twice, and those of them that are models; asked once, since each request is looked at."""
    inner = (
        (name, field.annotation)
        for name, field in model.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    )
    return tuple(model.model_fields), frozenset(model.model_fields), tuple(inner)


def warning_headers(sentences: tuple[str, ...]) -> dict[str, str]:
    """Returns the headers that tell of unknown keys."""
    return {HEADER: "; ".join(sentences)} if sentences else {}


def _shown(key: str) -> str:
    """Returns a key as a header and a log line can carry it."""
    text = key if len(key) <= 80 else f"{key[:77]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)

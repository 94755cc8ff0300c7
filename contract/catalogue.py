"""What a ComfyUI tells of its nodes, as its agent leaves it in the output bucket for the API, which reaches no runtime.

It is `GET /object_info` without its prose: one JSON line for each class, `["KSampler", {"input": …}]`, all compressed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from contract.bounds import ExcessError, check_bounds
from contract.documents import decode, encode

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of the lines. ComfyUI 0.33.0 has half a megabyte with its own nodes; most of the rest are names of models, which each
node that loads one lists again."""

MOST_PACKED: Final = 4 * 1024 * 1024
"""Bytes of the object; names that are listed again and again shrink to a twentieth."""

_KEPT: Final = ("input", "input_order", "output_node")
_PROSE: Final = frozenset({"tooltip", "display_name", "description", "placeholder"})

type Entry = Mapping[str, Any]
"""What is told of one class: `input` (group → input → `[type or choices, config]`), `input_order`, `output_node`."""


class CatalogueError(ValueError):
    """What is no catalogue, or one beyond the bounds; the text says why."""


class Catalogue(Mapping[str, Entry]):
    """The classes of a runtime, by name. Each is read when it is asked for: all of them as objects take much memory.

    Args:
        lines: each class's entry, as JSON.
    """

    def __init__(self, lines: Mapping[str, bytes]) -> None:
        self._lines = lines

    def __getitem__(self, name: str) -> Entry:
        """Returns what is told of a class."""
        entry: Entry = decode(self._lines[name])
        return entry

    def __contains__(self, name: object) -> bool:
        """Tells whether the runtime has a class."""
        return name in self._lines

    def __iter__(self) -> Iterator[str]:
        """Yields the names of the classes."""
        return iter(self._lines)

    def __len__(self) -> int:
        """Returns how many classes there are."""
        return len(self._lines)


def pack(told: Mapping[str, Any]) -> bytes:
    """Returns the object for what a server answered; the same answer gives the same bytes.

    Names of files that somebody has uploaded are left out: they are no other tenant's affair.

    Raises:
        CatalogueError: it is no such answer, or too large.
    """
    lines: list[bytes] = []
    for name, entry in sorted(told.items()):
        if isinstance(entry, dict) and isinstance(entry.get("input"), dict):
            kept = {key: _without_prose(entry[key]) for key in _KEPT if key in entry}
            try:
                lines.append(encode([name, kept]))
            except TypeError as error:  # a text that is no Unicode
                raise CatalogueError(f"what it tells of {name!r} cannot be written: {error}") from error
    if not lines:
        raise CatalogueError("it tells of no nodes")
    data = b"\n".join(lines)
    if len(data) > MOST_BYTES:
        raise CatalogueError(f"it has {len(data)} bytes; at most {MOST_BYTES} are kept")
    packed = gzip.compress(data, mtime=0)
    if len(packed) > MOST_PACKED:
        raise CatalogueError(f"it has {len(packed)} bytes compressed; at most {MOST_PACKED} are kept")
    return packed


def unpack(packed: bytes) -> Catalogue:
    """Reads an object.

    Raises:
        CatalogueError: it is none, or beyond the bounds.
    """
    try:
        unzip = zlib.decompressobj(wbits=31)
        data = unzip.decompress(packed, MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise CatalogueError(f"it has more than {MOST_BYTES} bytes")
        if not unzip.eof:
            raise CatalogueError("it is cut off")
        return Catalogue(dict(_read_line(line) for line in data.split(b"\n")))
    except (zlib.error, orjson.JSONDecodeError, ExcessError) as error:
        raise CatalogueError(f"it cannot be read: {error}") from error


def _read_line(line: bytes) -> tuple[str, bytes]:
    check_bounds(line)
    match decode(line):
        case [str(name), {"input": dict()} as entry]:
            return name, encode(entry)
        case _:
            raise CatalogueError("a line of it is no class")


def _without_prose(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2 and _takes_uploads(value[1]):
        kind, config = value
        config = {key: [] if key == "options" else item for key, item in config.items()}
        value = [[] if isinstance(kind, list) else kind, config]
    if isinstance(value, dict):
        return {key: _without_prose(item) for key, item in value.items() if key not in _PROSE or isinstance(item, list)}
    return [_without_prose(item) for item in value] if isinstance(value, list) else value


def _takes_uploads(config: Any) -> bool:
    return isinstance(config, dict) and any(key.endswith("_upload") and value for key, value in config.items())

"""Reads the names that the chart's values had before: those of the reference, and of its predecessor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

type Values = dict[str, Any]
type Path = tuple[str, ...]

_RENAMED: Final[tuple[tuple[Path, Path], ...]] = (
    (("sdWebuiInferenceApi",), ("runtime",)),
    # So in the predecessor's own example of a custom image.
    (("queueAgent",), ("runtime", "queueAgent")),
    (("runtime", "queueAgent", "XRay"), ("runtime", "queueAgent", "xray")),
)

_GONE: Final[tuple[tuple[Path, str], ...]] = (
    (
        ("runtime", "queueAgent", "xray", "daemon"),
        "there is no daemon any more; runtime.queueAgent.xray.endpoint names the OTLP collector that gets the traces",
    ),
    (
        ("karpenter", "nodeTemplate", "instanceStorePolicy"),
        "set karpenter.nodeTemplate.imageCache to soci, which uses the instance's own disks",
    ),
)


def _no_mapping(value: Any) -> Any:
    return {} if value == "" else value


def _no_list(value: Any) -> Any:
    return [] if value == {} else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_REWRITTEN: Final[tuple[tuple[Path, Callable[[Any], Any]], ...]] = (
    # The documented empty values have another type than the ones that are not.
    (("runtime", "labels"), _no_mapping),
    (("runtime", "annotations"), _no_mapping),
    (("runtime", "inferenceApi", "extraEnv"), _no_list),
    (("runtime", "queueAgent", "extraEnv"), _no_list),
    (("runtime", "persistence", "accessModes"), _as_list),
)


@dataclass(frozen=True)
class Translation:
    """Values under today's names."""

    values: Values
    notes: tuple[str, ...] = ()
    """`old.path: is called new.path now`, one for each old name."""
    refusals: tuple[str, ...] = ()
    """`old.path: why it cannot be translated, and what to set instead`."""


def translate(values: Mapping[str, Any]) -> Translation:
    """Returns values with each old name replaced by today's; what is neither old nor known stays as it is."""
    result: Values = _unshared(dict(values))
    notes: list[str] = []
    refusals: list[str] = []
    for old, new in _RENAMED:
        value = _take(result, old)
        if value is _ABSENT:
            continue
        notes.append(f"{_dotted(old)}: is called {_dotted(new)} now")
        refusals += _put(result, new, value, said=_dotted(old))
    for path, instead in _GONE:
        if _take(result, path) is not _ABSENT:
            refusals.append(f"{_dotted(path)}: {instead}")
    for path, rewrite in _REWRITTEN:
        value = _take(result, path)
        if value is not _ABSENT:
            _put(result, path, rewrite(value), said=_dotted(path))
    storage = _at(result, ("runtime", "persistence"))
    if isinstance(storage, dict) and storage.get("storageClass") and "s3" not in storage:
        storage["s3"] = {"enabled": False}
        notes.append("runtime.persistence.storageClass: turns runtime.persistence.s3.enabled off")
    return Translation(result, tuple(notes), tuple(refusals))


_ABSENT: Final = object()


def _unshared(value: Any) -> Any:
    """Returns a copy in which nothing stands twice: what YAML's aliases share would be changed in all its places."""
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def _dotted(path: Path) -> str:
    return ".".join(path)


def _at(values: Any, path: Path) -> Any:
    for key in path:
        if not isinstance(values, dict) or key not in values:
            return _ABSENT
        values = values[key]
    return values


def _take(values: Values, path: Path) -> Any:
    """Removes what is at a path, and returns it."""
    parent = _at(values, path[:-1])
    return parent.pop(path[-1], _ABSENT) if isinstance(parent, dict) else _ABSENT


def _put(values: Values, path: Path, value: Any, *, said: str) -> list[str]:
    """Merges a value in at a path; returns a refusal for each key that is there under both names."""
    parent = values
    for key in path[:-1]:
        below = parent.setdefault(key, {})
        if not isinstance(below, dict):
            return [f"{said}: belongs under {_dotted(path[:-1])}, which is {below!r}"]
        parent = below
    if path[-1] not in parent:
        parent[path[-1]] = value
        return []
    there = parent[path[-1]]
    if isinstance(there, dict) and isinstance(value, dict):
        return [line for key, item in value.items() for line in _put(values, (*path, key), item, said=f"{said}.{key}")]
    return [f"{said}: is there as {_dotted(path)} too; remove one of them"]

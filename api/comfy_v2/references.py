"""Finds the `core/ASSET` objects of a workflow, and puts what they stand for into their places. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from api.comfy_v2.errors import unprocessable

KIND: Final = "core/ASSET"

type Path = tuple[str, ...]


def references(workflow: Any) -> dict[Path, str]:
    """Returns the asset's id at each place of a workflow that names one.

    Raises:
        ApiError: 422 `missing_asset`, one has no id; 422 `invalid_workflow`, one stands where no file can: ComfyUI's
            inputs are texts, or objects of such.
    """
    found: dict[Path, str] = {}
    for path, reference, in_list in _walk(workflow, (), in_list=False):
        info = reference.get("info")
        asset_id = info.get("id") if isinstance(info, dict) else None
        if not isinstance(asset_id, str) or not asset_id:
            place = ".".join(path)[:200]
            raise unprocessable("missing_asset", f"the {KIND} at {place} has no info.id", missing_ids=[])
        if len(path) not in {3, 4} or path[1] != "inputs" or in_list:
            place = ".".join(path)[:200]
            raise unprocessable("invalid_workflow", f"the {KIND} at {place} is no input of a node, or too deep in one")
        found[path] = asset_id
    return found


def resolved(workflow: Any, places: Mapping[Path, str]) -> Any:
    """Returns a copy of a workflow with the texts at these places."""
    return _resolved(workflow, (), places)


def pointer(path: Path) -> str:
    """Returns a place as a JSON Pointer (RFC 6901)."""
    return "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in path)


def _walk(value: Any, path: Path, *, in_list: bool) -> Iterator[tuple[Path, dict[str, Any], bool]]:
    if isinstance(value, dict):
        if value.get("__type") == KIND:
            yield path, value, in_list
            return
        for name, inner in value.items():
            yield from _walk(inner, (*path, name), in_list=in_list)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _walk(inner, (*path, str(index)), in_list=True)


def _resolved(value: Any, path: Path, places: Mapping[Path, str]) -> Any:
    if path in places:
        return places[path]
    if isinstance(value, dict):
        return {name: _resolved(inner, (*path, name), places) for name, inner in value.items()}
    return value

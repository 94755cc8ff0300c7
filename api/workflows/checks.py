"""Compares a workflow with what the runtime tells of its nodes, and says what it will refuse."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from api.workflows.fields import is_link, specs_by_name
from api.workflows.graphs import dicts
from contract.catalogue import Entry

MOST_WARNINGS: Final = 50
_SHOWN: Final = 5
_COMPARED: Final = 1_000


def warnings_of(
    nodes: Mapping[str, Any], catalogue: Mapping[str, Entry], origins: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Returns a sentence for each thing that the runtime will refuse, the first `MOST_WARNINGS` of them.

    Args:
        nodes: in API form.
        catalogue: what the runtime tells of its nodes.
        origins: node → its `properties` in the editor's form, which name its pack and its models.
    """
    found = list(islice(_warnings(nodes, catalogue, origins), MOST_WARNINGS + 1))
    if len(found) > MOST_WARNINGS:
        found[MOST_WARNINGS] = "and more of the kind"
    return found


def _warnings(
    nodes: Mapping[str, Any], catalogue: Mapping[str, Entry], origins: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    entries = {kind: catalogue.get(kind) for kind in {node["class_type"] for node in nodes.values()}}
    yield from _missing(nodes, entries, origins)
    if not any((entry or {}).get("output_node") for entry in entries.values()) and None not in entries.values():
        yield "the workflow has no node that saves or shows anything: the runtime refuses it"
    for key, node in nodes.items():
        entry = entries[node["class_type"]]
        if entry is None:
            continue
        inputs = node.get("inputs", {})
        for name, spec in specs_by_name(inputs, entry).items():
            place = f"node {key} ({node['class_type']}): {name}"
            if name not in inputs:
                # Some types are groups of inputs, which have names of their own in the workflow.
                inner = any(other.startswith(f"{name}.") for other in inputs)
                if spec.required and not inner and not str(spec.kind).startswith("COMFY_"):
                    yield f"{place} is required, and there is nothing connected or set"
                continue
            choices, value = spec.choices, inputs[name]
            is_file = any(flag.endswith("_upload") and set_ for flag, set_ in spec.config.items())
            # An empty list is a folder without models, or a fake's, which takes any name.
            if not choices or is_file or is_link(value) or value in choices or not _is_short(value):
                continue
            yield _no_choice(place, value, choices, _origin(origins, key, value))


def _missing(
    nodes: Mapping[str, Any], entries: Mapping[str, Entry | None], origins: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    where: dict[str, list[str]] = {}
    for key, node in nodes.items():
        if entries[node["class_type"]] is None:
            where.setdefault(node["class_type"], []).append(key)
    for kind, keys in where.items():
        pack = next((name for key in keys if (name := _pack(origins.get(key, {})))), "")
        more = f"; its pack is {pack}" if pack else ""
        yield f"the runtime has no node {kind[:100]!r} (node {', '.join(keys[:_SHOWN])}){more}"


def _pack(properties: Mapping[str, Any]) -> str:
    name = properties.get("cnr_id") or properties.get("aux_id")
    if not isinstance(name, str) or name == "comfy-core":
        return "ComfyUI itself, of another version" if name == "comfy-core" else ""
    version = properties.get("ver")
    return f"{name} {version}"[:100] if isinstance(version, str) and version else name[:100]


def _is_short(value: Any) -> bool:
    """Tells whether a value may be one of several names: lists and objects are what a node makes of its own."""
    return isinstance(value, str | int | float)


def _no_choice(place: str, value: Any, choices: list[Any], origin: str) -> str:
    names = [str(choice) for choice in choices[:_COMPARED]]
    close = difflib.get_close_matches(str(value)[:200], names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    has = ", ".join(names[:_SHOWN]) + (", …" if len(choices) > _SHOWN else "")
    return f"{place} is {value!r:.200}, which the runtime does not have{hint or ';'} it has {has}{origin}"


def _origin(origins: Mapping[str, Mapping[str, Any]], key: str, value: Any) -> str:
    """Returns where a model comes from, by the word of the workflow's author."""
    for model in dicts(origins.get(key, {}).get("models")):
        if model.get("name") == value and isinstance(model.get("url"), str):
            return f". The workflow names its source: {model['url'][:300]} (folder {str(model.get('directory'))[:80]})"
    return ""

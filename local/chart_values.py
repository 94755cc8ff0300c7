"""Finds keys in `extraValues` that the Helm chart does not have, by the chart's own schema.

The local stack reads a few of them only (`scaling`), so a typo would show at the first deployment.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from contract.config import Config
from local.folders import PROJECT

SCHEMA: Final = PROJECT / "cloud" / "chart" / "values.schema.json"

_OLD_NAMES: Final = frozenset({"sdWebuiInferenceApi", "queueAgent", "XRay", "daemon", "instanceStorePolicy"})
"""Keys of the reference's chart, which the deployment translates, or refuses in its own words."""

type _Schema = dict[str, Any]


def unknown_values(config: Config, schema: Path = SCHEMA) -> list[str]:
    """Returns a sentence for each key that the chart does not have; none without the chart, or for another chart."""
    if not schema.is_file():
        return []
    root = json.loads(schema.read_text(encoding="utf-8"))
    return [
        sentence
        for number, runtime in enumerate(config.runtimes)
        if not runtime.chart_repository
        for sentence in _unknown(runtime.extra_values, root, root, f"modelsRuntime.{number}.extraValues")
    ]


def _unknown(value: Any, schema: _Schema, root: _Schema, at: str) -> Iterator[str]:
    schemas = list(_flat(schema, root))
    if isinstance(value, list):
        for number, item in enumerate(value):
            for each in schemas:
                if isinstance(each.get("items"), dict):
                    yield from _unknown(item, each["items"], root, f"{at}.{number}")
    if not isinstance(value, dict):
        return
    known = {name: inner for each in schemas for name, inner in each.get("properties", {}).items()}
    closed = any(each.get("additionalProperties") is False for each in schemas)
    for key, item in value.items():
        if key in known:
            yield from _unknown(item, known[key], root, f"{at}.{key}")
        elif closed and key not in _OLD_NAMES:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"the chart has {', '.join(sorted(known))}"
            yield f"{at}.{key}: unknown key; {hint}"


def _flat(schema: _Schema, root: _Schema) -> Iterator[_Schema]:
    """Yields a schema and what it is put together from."""
    yield schema
    if reference := schema.get("$ref"):
        found: Any = root
        for name in reference.removeprefix("#/").split("/"):
            found = found[name]
        yield from _flat(found, root)
    for kind in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(kind, ()):
            yield from _flat(part, root)

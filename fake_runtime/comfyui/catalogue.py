"""Makes node classes of a recorded catalogue: what a real ComfyUI tells of its nodes at `GET /object_info`.

The catalogue says what a class takes and gives, and `generic` does what can be done with that. A class that the table
in `nodes` has keeps what it does there.
"""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fake_runtime.comfyui import generic
from fake_runtime.comfyui.node_types import Context, Input, NodeClass, Result, Shelf, Values
from fake_runtime.comfyui.nodes import NODE_CLASSES

type Run = Callable[[Context, Values], Result]

DEFAULT = Path(__file__).parent / "catalogues" / "comfyui-0.33.0-core.json.gz"
"""The 634 classes of ComfyUI 0.33.0 (2026-08-22) as it comes, recorded by `nox -s record` on CPU with empty folders."""

MAGIC_GZIP = b"\x1f\x8b"


class CatalogueError(ValueError):
    """A file that is no catalogue; the text says why."""


def read_catalogue(path: Path) -> dict[str, Any]:
    """Returns the classes of a catalogue, by name, as `/object_info` has them.

    Raises:
        CatalogueError: the file cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
        document = json.loads(gzip.decompress(data) if data.startswith(MAGIC_GZIP) else data)
    except (OSError, ValueError, EOFError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("input"), dict) for entry in document.values()
    ):
        raise CatalogueError(f"{path} is no catalogue: it must be what GET /object_info of a ComfyUI answers")
    return document


def node_classes(catalogue: Mapping[str, Any], table: Mapping[str, NodeClass]) -> dict[str, NodeClass]:
    """Returns a class for each entry of a catalogue.

    Args:
        catalogue: what a server told.
        table: classes of which more is known: what they do and cost, and what there is to choose from.
    """
    return {name: _node_class(name, entry, table.get(name)) for name, entry in catalogue.items()}


def _node_class(name: str, entry: Mapping[str, Any], known: NodeClass | None) -> NodeClass:
    groups = {
        kind: {key: spec for key, spec in group.items() if isinstance(spec, list) and spec}
        for kind, group in entry["input"].items()
        if isinstance(group, dict)
    }
    familiar = {**known.required, **known.optional} if known is not None else {}
    required = {key: _input(spec, familiar.get(key)) for key, spec in groups.get("required", {}).items()}
    optional = {key: _input(spec, familiar.get(key)) for key, spec in groups.get("optional", {}).items()}
    inputs = required | optional
    outputs = tuple(str(kind) if isinstance(kind, str) else "COMBO" for kind in entry.get("output") or ())
    files = [key for key, spec in inputs.items() if spec.choices is _input_files]
    told = NodeClass(
        name,
        outputs,
        generic.runner(name, outputs, inputs, output_node=bool(entry.get("output_node"))),
        required,
        optional,
        output_names=tuple(str(item) for item in entry.get("output_name") or ()),
        output_node=bool(entry.get("output_node")),
        work=generic.worker(outputs, inputs),
        file_input=files[0] if files else None,
        category="",
    )
    if known is None:
        return told
    return replace(
        told,
        run=_with_all_outputs(known.run, generic.runner(name, outputs, inputs, output_node=False)),
        work=known.work,
        file_input=known.file_input or told.file_input,
        category=known.category,
        display_name=known.display_name,
        python_module=known.python_module,
    )


def _with_all_outputs(run: Run, other: Run) -> Run:
    """Returns `run`, with the outputs that newer servers have besides taken from `other`."""

    def act(context: Context, values: Values) -> Result:
        result = run(context, values)
        return result if result.values else replace(result, values=other(context, values).values)

    return act


def _input(spec: list[Any], known: Input | None) -> Input:
    """Returns an input as a catalogue has it; what there is to choose from is this server's own where it has something.

    A list that was recorded empty is a folder that was empty: any file may lie there.
    """
    kind, config = spec[0], spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
    if any(key.endswith("_upload") and value for key, value in config.items()):
        return Input("COMBO", config, _input_files)
    choices = kind if isinstance(kind, list) else config.get("options") if kind == "COMBO" else None
    if isinstance(choices, list):
        names = [choice for choice in choices if not isinstance(choice, dict)]
        if known is not None and known.choices is not None and not names:
            return Input("COMBO", config, known.choices)
        return Input("COMBO", config, lambda _: names)
    return Input(kind if isinstance(kind, str) else "COMBO", config)


def _input_files(shelf: Shelf) -> list[str]:
    return shelf.files.input_names()


@cache
def known_classes(path: Path | None) -> dict[str, NodeClass]:
    """Returns the classes of a catalogue; those of `DEFAULT` if none is given.

    Raises:
        CatalogueError: the file cannot be read, or is none.
    """
    return node_classes(read_catalogue(path or DEFAULT), NODE_CLASSES)

"""Says what a person may want to change of a workflow: texts, seeds, sizes, steps, samplers, files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from api.workflows.widgets import Spec, specs_of
from contract.catalogue import Entry

MOST_FIELDS: Final = 2_000
MOST_CHOICES: Final = 1_000
"""Of one field."""
_ALL_CHOICES: Final = 20_000
"""Of all fields together: a workflow of many loaders lists the same models again and again."""

ROLES: Final = ("prompt", "file", "seed", "size", "length", "steps", "cfg", "sampler", "denoise")
"""What is changed most, in this order; anything else has no role, or that of a `model`."""

_NAMES_OF: Final[Mapping[str, str]] = {
    "prompt": "text prompt positive negative positive_prompt negative_prompt lyrics tags caption text_g text_l clip_l "
    "t5xxl",
    "seed": "seed noise_seed",
    "size": "width height megapixels batch_size resolution",
    "length": "length frames frames_number num_frames seconds duration fps frame_rate",
    "steps": "steps",
    "cfg": "cfg guidance cfg_scale true_cfg",
    "sampler": "sampler_name scheduler sampler",
    "denoise": "denoise",
}
_ROLE_OF: Final = {name: role for role, names in _NAMES_OF.items() for name in names.split()}
_MODEL_FILE: Final = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf|onnx)$", re.IGNORECASE)
_MEDIA: Final[Mapping[str, str]] = {
    "image_upload": "image",
    "animated_image_upload": "image",
    "video_upload": "video",
    "audio_upload": "audio",
    "file_upload": "file",
}
_WHOLE: Final = "integer"
_LINE: Final = 80
"""Characters of a text that is one line's, where the catalogue does not say."""
_TYPES: Final[Mapping[str, str]] = {"INT": _WHOLE, "FLOAT": "number", "BOOLEAN": "boolean", "STRING": "string"}


_NUMBERS: Final = frozenset({_WHOLE, "number"})
_TYPES_OF: Final[Mapping[str, frozenset[str]]] = {
    "prompt": frozenset({"text", "string"}),
    "sampler": frozenset({"choice", "string"}),
    "size": _NUMBERS | {"choice"},
    "length": _NUMBERS | {"choice"},
}
"""Role → types of values that can have it."""


@dataclass
class _Field:
    node: str
    name: str
    type: str
    role: str | None
    default: Any
    spec: Spec | None
    label: str
    promoted: bool

    @property
    def rank(self) -> tuple[bool, int]:
        order = ROLES.index(self.role) if self.role in ROLES else len(ROLES) + (self.role == "model")
        return not self.promoted, order


def fields_of(
    nodes: Mapping[str, Any], catalogue: Mapping[str, Entry], promoted: AbstractSet[tuple[str, str]] = frozenset()
) -> list[dict[str, Any]]:
    """Returns the values that can be set, those that people change most first.

    Args:
        nodes: in API form.
        catalogue: what the runtime tells of its nodes.
        promoted: node and input of what the workflow's author shows on the outside of a subgraph: they come first.

    Returns:
        For each `pointer` (RFC 6901) into the nodes, `node`, `input`, `label`, `type` (text, string, integer, number,
        boolean, choice, file), `role` (see `ROLES`; or None), `default` (what it is now), and what the catalogue adds:
        `choices`, `minimum`, `maximum`, `step`, `media` (image, video, audio, file).
    """
    every = list(islice(_fields(nodes, catalogue, promoted), MOST_FIELDS))
    every.sort(key=lambda item: item.rank)
    left = _ALL_CHOICES
    shown = []
    for item in every:
        described = _described(item, left)
        left -= len(described.get("choices") or ())
        shown.append(described)
    return shown


def pointer_to(node: str, name: str) -> str:
    """Returns the JSON pointer (RFC 6901) of a node's input."""
    node, name = (part.replace("~", "~0").replace("/", "~1") for part in (node, name))
    return f"/{node}/inputs/{name}"


def is_link(value: Any) -> bool:
    """Tells whether an input is another node's output."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def specs_by_name(inputs: Mapping[str, Any], entry: Entry) -> dict[str, Spec]:
    """Returns what the catalogue says of a node's inputs, those that its choices bring included."""
    found: dict[str, Spec] = {}
    waiting = list(specs_of(entry))
    while waiting:
        name, spec = waiting.pop()
        found[name] = spec
        waiting += [(f"{name}.{inner}", inner_spec) for inner, inner_spec in spec.inner(inputs.get(name))]
    return found


def _fields(
    nodes: Mapping[str, Any], catalogue: Mapping[str, Entry], promoted: AbstractSet[tuple[str, str]]
) -> Iterator[_Field]:
    known: dict[str, Entry | None] = {}
    for key, node in nodes.items():
        kind, inputs = node["class_type"], node.get("inputs", {})
        entry = known[kind] if kind in known else known.setdefault(kind, catalogue.get(kind))
        specs = {} if entry is None else specs_by_name(inputs, entry)
        for name, value in inputs.items():
            if is_link(value) or (entry is not None and name not in specs):
                continue
            spec = specs.get(name)
            if (type_ := _type(spec, value)) is not None:
                role = _role(name, value, type_, spec, _title(node))
                yield _Field(key, name, type_, role, value, spec, f"{_title(node)}: {name}", (key, name) in promoted)


def _title(node: Mapping[str, Any]) -> str:
    meta = node.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    return str(title or node["class_type"])[:200]


def _type(spec: Spec | None, value: Any) -> str | None:
    """Returns the type of a field; None where there is nothing that a person could type."""
    if spec is None:
        return _type_of_value(value)
    if any(spec.config.get(flag) for flag in _MEDIA):
        return "file"
    if spec.choices is not None:
        return "choice"
    found = _TYPES.get(spec.type)
    return "text" if found == "string" and spec.config.get("multiline") else found


def _type_of_value(value: Any) -> str | None:
    match value:
        case str():
            return "text" if "\n" in value or len(value) > _LINE else "string"
        case bool():
            return "boolean"
        case int() | float():
            return _WHOLE if isinstance(value, int) else "number"
        case _:
            return None


def _role(name: str, value: Any, type_: str, spec: Spec | None, title: str) -> str | None:
    if type_ == "file":
        return "file"
    if isinstance(value, str) and _MODEL_FILE.search(value):
        return "model"
    last = name.rpartition(".")[2].lower()
    role = _ROLE_OF.get(last)
    if last == "value":
        # The nodes of primitives are named by their author.
        words = re.findall(r"[a-z]+", title.lower())
        role = next((_ROLE_OF[word] for word in words if word in _ROLE_OF), "prompt" if type_ == "text" else None)
    if role is None and spec is not None and spec.type == "INT" and spec.config.get("control_after_generate"):
        role = "seed"
    return role if type_ in _TYPES_OF.get(role or "", _NUMBERS) else None


def _described(item: _Field, choices_left: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "pointer": pointer_to(item.node, item.name),
        "node": item.node,
        "input": item.name,
        "label": item.label,
        "type": item.type,
        "role": item.role,
        "default": item.default,
    }
    if item.spec is None:
        return described
    config, choices = item.spec.config, item.spec.choices
    if item.type == "choice":
        # A list that is longer than what is shown is none to choose from: any text may be typed.
        shown = choices is not None and len(choices) <= min(MOST_CHOICES, choices_left)
        described["choices"] = choices if shown else None
    elif item.type == "file":
        described["media"] = next(media for flag, media in _MEDIA.items() if config.get(flag))
    elif item.type in {_WHOLE, "number"}:
        for name, key in (("minimum", "min"), ("maximum", "max"), ("step", "step")):
            if isinstance(config.get(key), int | float):
                described[name] = config[key]
    return described

"""Decides whether a prompt can run, and words the refusals as ComfyUI does: 0.3.64, or one of today (0.33)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fake_runtime.comfyui.node_types import Input, NodeClass, Shelf
from fake_runtime.comfyui.nodes import input_config

type Prompt = dict[str, Any]
type NodeError = dict[str, Any]

_LONGEST_LIST_SHOWN = 20
# What shapes that nobody foresaw make the original raise, and catch.
_UNFORESEEN = (LookupError, TypeError, AttributeError, RecursionError)
# Where the original puts its own stack trace, server paths included.
_TRACEBACK = ['  File "/ComfyUI/execution.py", line 1035, in validate_prompt\n']

NO_PROMPT = {
    "type": "no_prompt",
    "message": "No prompt provided",
    "details": "No prompt provided",
    "extra_info": {},
}


INVALID_PROMPT_ID = {
    "type": "invalid_prompt_id",
    "message": "prompt_id must be a valid UUID",
    "details": "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
    "omit it to let the server generate one",
    "extra_info": {},
}


@dataclass(slots=True)
class Verdict:
    """What came of validation.

    Attributes:
        outputs: output nodes that can run, in the order of the prompt.
        error: the refusal; None if at least one output can run.
        node_errors: by node id; may be filled even without an error.
    """

    outputs: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    node_errors: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Checked:
    valid: bool
    errors: list[NodeError]


def _refusal(kind: str, message: str, details: str) -> Verdict:
    return Verdict(error={"type": kind, "message": message, "details": details, "extra_info": {}})


def _missing_type(prompt: Prompt, node_id: str, *, current: bool) -> Verdict:
    """The refusal of a node of no class, or of one that the server lacks."""
    name, where = prompt[node_id].get("class_type"), f"Node ID '#{node_id}'"
    if not current:
        reason = "a node is missing the class_type property" if name is None else f"node {name} does not exist"
        return _refusal("invalid_prompt", f"Cannot execute because {reason}.", where)
    title = prompt[node_id].get("_meta", {}).get("title", name)
    message = f"Node '{title}' not found. The custom node may not be installed."
    if name is None:
        message = (
            f"Node '{title or f'ID #{node_id}'}' has no class_type. The workflow may be corrupted or a custom node is "
            "missing."
        )
    info = {"node_id": node_id, "class_type": name, "node_title": title}
    return Verdict(error={"type": "missing_node_type", "message": message, "details": where, "extra_info": info})


def validate_prompt(prompt: Any, shelf: Shelf, targets: Any = None) -> Verdict:
    """Checks a prompt, and converts its widget values in place, as the original does.

    Args:
        prompt: the nodes.
        shelf: what there is to choose from.
        targets: `partial_execution_targets`: the outputs that are wanted; None for all.

    Raises:
        TypeError, AttributeError, LookupError: the prompt has a shape on which the original too fails with 500.
    """
    current = shelf.version.current
    if current and not isinstance(prompt, dict):
        raise TypeError("nodes are replaced by others of a table before anything is looked at")
    outputs: list[str] = []
    for node_id in prompt:
        node = prompt[node_id]
        node_class = shelf.classes.get(node["class_type"]) if "class_type" in node else None
        if node_class is None:
            return _missing_type(prompt, node_id, current=current)
        if node_class.output_node and (targets is None or node_id in targets):
            outputs.append(node_id)
    if not outputs:
        return _refusal("prompt_no_outputs", "Prompt has no outputs", "")
    return _validate_outputs(prompt, outputs, _Validator(prompt, shelf))


def _validate_outputs(prompt: Prompt, outputs: list[str], validator: _Validator) -> Verdict:
    verdict = Verdict()
    lines: list[str] = []
    for output in outputs:
        try:
            checked = validator.check(output)
        except _UNFORESEEN as error:
            reason = _exception("exception_during_validation", "Exception when validating node", error)
            checked = validator.checked[output] = _Checked(valid=False, errors=[reason])
        if checked.valid:
            verdict.outputs.append(output)
            continue
        lines += [f"{error['message']}: {error['details']}" for error in checked.errors]
        for node_id, result in validator.checked.items():
            if not result.valid and result.errors:
                entry = verdict.node_errors.setdefault(
                    node_id,
                    {"errors": result.errors, "dependent_outputs": [], "class_type": prompt[node_id]["class_type"]},
                )
                entry["dependent_outputs"].append(output)
    if not verdict.outputs:
        verdict.error = {
            "type": "prompt_outputs_failed_validation",
            "message": "Prompt outputs failed validation",
            "details": "\n".join(lines),
            "extra_info": {},
        }
    return verdict


def _exception(kind: str, message: str, error: Exception, **extra: Any) -> NodeError:
    info = {**extra, "exception_type": type(error).__name__, "traceback": _TRACEBACK}
    return {"type": kind, "message": message, "details": str(error), "extra_info": info}


_WITH_PARTS = {"COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3"}
"""Types of inputs whose values have names of their own: `images.image0`, `format.quality`."""

_MODEL = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf|onnx)$", re.IGNORECASE)


def _may_be_a_model(value: str, choices: list[str]) -> bool:
    """Whether it is the name of a model's file, or chosen from a folder of which nothing is known."""
    return not choices or _MODEL.search(value) is not None


_CONVERT: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _types_fit(received: str, wanted: str) -> bool:
    """Links fit when every type that may come is one that is wanted; ``*`` is any.

    Nodes of the newer kind (V3) may want one type of several, and say that two of their inputs must match.
    """
    if {"*", "COMFY_MATCHTYPE_V3"} & {received, wanted}:
        return True
    if "COMBO" in {received, wanted}:
        return bool({received, wanted} & {"STRING"}) or received == wanted
    return set(received.split(",")) <= set(wanted.split(",")) or wanted.startswith("COMFY_")


class _InputError(Exception):
    """An input is wrong; the argument is the error as it is shown."""

    def __init__(self, kind: str, message: str, details: str, **extra: Any) -> None:
        super().__init__(details)
        self.shown: NodeError = {"type": kind, "message": message, "details": details, "extra_info": extra}


class _Validator:
    def __init__(self, prompt: Prompt, shelf: Shelf) -> None:
        self.prompt = prompt
        self.shelf = shelf
        self.checked: dict[str, _Checked] = {}
        self._path: list[str] = []
        self._circles: dict[str, NodeError] = {}

    def check(self, node_id: str) -> _Checked:
        """Checks a node after those it depends on."""
        if node_id in self.checked:
            return self.checked[node_id]
        if node_id in self._path:
            if self.shelf.version.current:
                self._name_circle([*self._path[self._path.index(node_id) :], node_id])
            # 0.3.64 runs out of stack here; each frame then marks its node invalid without an error.
            return _Checked(valid=False, errors=[])
        self._path.append(node_id)
        try:
            result = self._check(node_id)
        finally:
            self._path.pop()
        if (circle := self._circles.get(node_id)) is not None:
            result = _Checked(valid=False, errors=[circle, *result.errors])
        self.checked[node_id] = result
        return result

    def _name_circle(self, path: list[str]) -> None:
        nodes = list(dict.fromkeys(path))
        details = " -> ".join(f"{node_id} ({self.prompt[node_id]['class_type']})" for node_id in path)
        for node_id in nodes:
            self._circles[node_id] = {
                "type": "dependency_cycle",
                "message": "Dependency cycle detected",
                "details": details,
                "extra_info": {"node_id": node_id, "cycle_nodes": nodes},
            }

    def _check(self, node_id: str) -> _Checked:
        inputs = self.prompt[node_id]["inputs"]
        node_class = self.shelf.classes[self.prompt[node_id]["class_type"]]
        errors: list[NodeError] = []
        valid = True
        for name, spec in {**node_class.required, **node_class.optional}.items():
            if name not in inputs:
                if name in node_class.required and spec.type not in _WITH_PARTS:
                    error = _InputError("required_input_missing", "Required input is missing", name, input_name=name)
                    errors.append(error.shown)
                continue
            try:
                if isinstance(inputs[name], list):
                    valid = self._check_link(name, spec, inputs[name]) and valid
                else:
                    self._check_widget(node_class, name, spec, inputs)
            except _InputError as error:
                errors.append(error.shown)
        if not errors and valid:
            errors += self._check_file(node_class, inputs)
        return _Checked(valid=valid and not errors, errors=errors)

    def _check_link(self, name: str, spec: Input, value: list[Any]) -> bool:
        config = input_config(spec, self.shelf)
        if len(value) != 2:
            raise _InputError(
                "bad_linked_input",
                "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                name,
                input_name=name,
                input_config=config,
                received_value=value,
            )
        source, slot = value
        received = self.shelf.classes[self.prompt[source]["class_type"]].outputs[slot]
        if not _types_fit(received, spec.type):
            raise _InputError(
                "return_type_mismatch",
                "Return type mismatch between linked nodes",
                f"{name}, received_type({received}) mismatch input_type({spec.type})",
                input_name=name,
                input_config=config,
                received_type=received,
                linked_node=value,
            )
        try:
            return self.check(source).valid
        except _UNFORESEEN as error:
            reason = _exception(
                "exception_during_inner_validation",
                "Exception when validating inner node",
                error,
                input_name=name,
                input_config=config,
                exception_message=str(error),
                linked_node=value,
            )
            self.checked[source] = _Checked(valid=False, errors=[reason])
            return False

    def _check_widget(self, node_class: NodeClass, name: str, spec: Input, inputs: dict[str, Any]) -> None:
        value = inputs[name]
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[name] = value["__value__"]
        extra = {"input_name": name, "input_config": input_config(spec, self.shelf), "received_value": value}
        convert = _CONVERT.get(spec.type)
        if convert is not None:
            try:
                value = inputs[name] = convert(value)
            except (ValueError, TypeError, OverflowError) as error:
                raise _InputError(
                    "invalid_input_type",
                    f"Failed to convert an input value to a {spec.type} value",
                    f"{name}, {value}, {error}",
                    **extra,
                    exception_message=str(error),
                ) from error
        if node_class.file_input == name:
            return
        low, high = spec.config.get("min"), spec.config.get("max")
        if low is not None and value < low:
            raise _InputError("value_smaller_than_min", f"Value {value} smaller than min of {low}", name, **extra)
        if high is not None and value > high:
            raise _InputError("value_bigger_than_max", f"Value {value} bigger than max of {high}", name, **extra)
        if spec.choices is not None:
            self._check_choice(name, value, spec.choices(self.shelf), extra)

    def _check_choice(self, name: str, value: Any, choices: list[str], extra: dict[str, Any]) -> None:
        if value in choices or (self.shelf.any_model and isinstance(value, str) and _may_be_a_model(value, choices)):
            return
        shown = str(choices)
        if len(choices) > _LONGEST_LIST_SHOWN:
            shown = f"(list of length {len(choices)})"
            extra = {**extra, "input_config": None}
        raise _InputError("value_not_in_list", "Value not in list", f"{name}: '{value}' not in {shown}", **extra)

    def _check_file(self, node_class: NodeClass, inputs: dict[str, Any]) -> list[NodeError]:
        name = node_class.file_input
        if name is None or name not in inputs or isinstance(inputs[name], list):
            return []
        if self.shelf.files.exists(inputs[name]):
            return []
        kind = {"file": "video", "model_file": "model"}.get(name, name)
        details = f"{name} - Invalid {kind} file: {inputs[name]}"
        message = "Custom validation failed for node"
        return [_InputError("custom_validation_failed", message, details, input_name=name).shown]

"""Gives the values of a node's widgets their names, as ComfyUI's editor does: by their order in the catalogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.workflows.graphs import Node, widget_names
from contract.catalogue import Entry

_WIDGETS: Final = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COLOR", "BOUNDING_BOX", "CURVE"})
_DYNAMIC: Final = "COMFY_DYNAMICCOMBO_V3"
_CONTROL: Final = frozenset({"fixed", "increment", "decrement", "randomize"})
_SEEDS: Final = frozenset({"seed", "noise_seed"})
_DRAWN_ONLY: Final = frozenset({"videopreview", "audioUI", "upload", "image_upload"})
"""Widgets that show something, and are no inputs (VideoHelperSuite keeps its values by name)."""

_LORAS: Final = "Power Lora Loader (rgthree)"


@dataclass(frozen=True)
class Spec:
    """What the catalogue says of one input."""

    kind: Any
    """A type's name, or a list of choices."""
    config: Mapping[str, Any]
    required: bool

    @property
    def type(self) -> str:
        """The type's name: of several ("FLOAT,INT") the one that is drawn."""
        drawn = self.config.get("widgetType")
        return str(drawn) if isinstance(drawn, str) else "COMBO" if isinstance(self.kind, list) else str(self.kind)

    @property
    def choices(self) -> list[Any] | None:
        """What there is to choose from; None where any value does."""
        if isinstance(self.kind, list):
            return self.kind
        options = self.config.get("options")
        if self.kind == _DYNAMIC and isinstance(options, list):
            return [option.get("key") for option in options if isinstance(option, dict)]
        return options if self.kind == "COMBO" and isinstance(options, list) else None

    @property
    def is_widget(self) -> bool:
        """Whether the editor draws a widget for it."""
        usual = isinstance(self.kind, list) or self.type in _WIDGETS or self.kind == _DYNAMIC
        return bool((usual or self.config.get("socketless")) and not self.config.get("forceInput"))

    def inner(self, value: Any) -> Iterator[tuple[str, Spec]]:
        """Yields the inputs that a choice brings (`COMFY_DYNAMICCOMBO_V3`), by their own names."""
        options = self.config.get("options")
        for option in options if self.kind == _DYNAMIC and isinstance(options, list) else ():
            if isinstance(option, dict) and option.get("key") == value and isinstance(option.get("inputs"), dict):
                for group in ("required", "optional"):
                    yield from _read_group(option["inputs"].get(group), None, required=group == "required")


def specs_of(entry: Entry) -> Iterator[tuple[str, Spec]]:
    """Yields the inputs of a class in the order in which they are drawn; what is garbled is left out."""
    groups, orders = entry.get("input"), entry.get("input_order")
    for group in ("required", "optional"):
        order = orders.get(group) if isinstance(orders, dict) else None
        if isinstance(groups, dict):
            yield from _read_group(groups.get(group), order, required=group == "required")


def _read_group(group: Any, order: Any, *, required: bool) -> Iterator[tuple[str, Spec]]:
    if not isinstance(group, dict):
        return
    names = [name for name in order if isinstance(name, str)] if isinstance(order, list) else []
    for name in (*names, *(group.keys() - names if names else group)):
        spec = group.get(name)
        if isinstance(spec, list) and spec:
            config = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            yield name, Spec(spec[0], config, required)


def values_of(node: Node, entry: Entry | None) -> dict[str, Any]:
    """Returns the values of a node's widgets by name.

    Args:
        node: as the editor saves it.
        entry: what the catalogue says of its class; None: the runtime lacks it, and the node's own word has to do.
    """
    values = node.get("widgets_values")
    if isinstance(values, dict):
        return {name: value for name, value in values.items() if name not in _DRAWN_ONLY}
    left = list(values) if isinstance(values, list) else []
    if node["type"] == _LORAS:
        return _loras(left)
    if entry is None:
        return dict(_by_own_names(node, left))
    drawn = frozenset(widget_names(node))
    return {key: value for name, spec in specs_of(entry) for key, value in _take(name, spec, left, drawn=name in drawn)}


def _take(name: str, spec: Spec, left: list[Any], *, drawn: bool = False) -> Iterator[tuple[str, Any]]:
    """Takes the value of one widget off what is left, and those of the widgets that it brings."""
    if spec.config.get("forceInput") or not (spec.is_widget or drawn):
        return
    if left:
        value = left.pop(0)
        _drop_control(name, spec, left)
    else:
        # A class that has got a widget since the workflow was saved: the editor draws it with its default.
        choices = spec.choices
        if "default" in spec.config:
            value = spec.config["default"]
        elif choices or spec.type not in _WIDGETS:
            value = choices[0] if choices else ""
        else:
            return
    yield name, value
    for inner, inner_spec in spec.inner(value):
        yield from _take(f"{name}.{inner}", inner_spec, left)


def _drop_control(name: str, spec: Spec, left: list[Any]) -> None:
    """Drops the widget that says what becomes of a value after each run, and the filter of a choice."""
    controlled = spec.config.get("control_after_generate") or name in _SEEDS or spec.type == "INT"
    if controlled and left and isinstance(left[0], str) and left[0] in _CONTROL:
        left.pop(0)
        if spec.choices is not None and left and left[0] == "":
            left.pop(0)


def _by_own_names(node: Node, left: list[Any]) -> Iterator[tuple[str, Any]]:
    for name in widget_names(node):
        if left:
            yield name, left.pop(0)
            if left and isinstance(left[0], str) and left[0] in _CONTROL and name in _SEEDS:
                left.pop(0)


def _loras(values: list[Any]) -> dict[str, Any]:
    """Returns the inputs of rgthree's list of LoRAs, which has as many widgets as it holds LoRAs."""
    loras = [value for value in values if isinstance(value, dict) and "lora" in value]
    return {f"lora_{number}": value for number, value in enumerate(loras, 1)}

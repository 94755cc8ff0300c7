"""Turns a workflow of ComfyUI's editor into the format of its API, as the editor's "Export (API)" does.

Muted nodes go, bypassed ones pass on what has the type of their output, subgraphs are put in their places, and the
values of widgets get their names from what the server tells of the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MUTED, BYPASSED = 2, 4
_WORDS_ONLY: Final = {"Note", "MarkdownNote"}
_PASSING: Final = {"Reroute"}
_WIDGETS: Final = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
_CONTROL: Final = {"fixed", "increment", "decrement", "randomize"}
_INPUTS, _OUTPUTS = -10, -20

type Source = tuple[str, int] | Value | None


@dataclass(frozen=True)
class Value:
    """A constant in the place of a link."""

    value: Any


@dataclass
class _Graph:
    """A workflow or the inside of a subgraph instance."""

    nodes: dict[Any, dict[str, Any]]
    links: dict[Any, tuple[Any, int]]
    """Id of the link → node and slot from which it comes."""
    outputs: dict[int, Any] = field(default_factory=dict)
    """Slot of the subgraph → the link that leads into it."""
    prefix: str = ""
    outer: tuple[_Graph, dict[str, Any]] | None = None
    """Where it stands, and the node that stands for it."""
    input_names: list[str] = field(default_factory=list)


def to_api(document: Mapping[str, Any], catalogue: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the workflow as `POST /prompt` takes it.

    Args:
        document: what the editor saves.
        catalogue: `/object_info`.
    """
    return _Converter(document, catalogue).convert()


class _Converter:
    def __init__(self, document: Mapping[str, Any], catalogue: Mapping[str, Any]) -> None:
        self._catalogue = catalogue
        definitions = document.get("definitions") or {}
        self._subgraphs = {item["id"]: item for item in definitions.get("subgraphs") or ()}
        self._inside: dict[tuple[int, Any], _Graph] = {}
        self._top = _graph(document)

    def convert(self) -> dict[str, Any]:
        prompt: dict[str, Any] = {}
        for graph, node in self._every(self._top):
            name = node["type"]
            if node.get("mode") in {MUTED, BYPASSED} or name in _WORDS_ONLY | _PASSING | {"PrimitiveNode"}:
                continue
            inputs = dict(self._widgets(node))
            for slot in node.get("inputs") or ():
                if slot.get("link") is None:
                    continue
                match self._from_link(graph, slot["link"]):
                    case Value(value):
                        inputs[slot["name"]] = value
                    case (node_id, index):
                        inputs[slot["name"]] = [node_id, index]
                    case None if "widget" not in slot:
                        inputs.pop(slot["name"], None)
            prompt[f"{graph.prefix}{node['id']}"] = {"class_type": name, "inputs": inputs}
        return prompt

    def _every(self, graph: _Graph) -> Iterator[tuple[_Graph, dict[str, Any]]]:
        for node in graph.nodes.values():
            if node["type"] in self._subgraphs:
                if node.get("mode") not in {MUTED, BYPASSED}:
                    yield from self._every(self._open(graph, node))
            else:
                yield graph, node

    def _open(self, graph: _Graph, node: dict[str, Any]) -> _Graph:
        key = (id(graph), node["id"])
        if key not in self._inside:
            definition = self._subgraphs[node["type"]]
            inside = _graph(definition)
            inside.prefix = f"{graph.prefix}{node['id']}:"
            inside.outer = (graph, node)
            inside.input_names = [item["name"] for item in definition.get("inputs") or ()]
            self._inside[key] = inside
        return self._inside[key]

    def _from_link(self, graph: _Graph, link: Any) -> Source:
        if link not in graph.links:
            return None
        node_id, slot = graph.links[link]
        if node_id == _INPUTS:
            return self._from_outside(graph, slot)
        node = graph.nodes.get(node_id)
        return None if node is None else self._from_node(graph, node, slot)

    def _from_outside(self, graph: _Graph, slot: int) -> Source:
        if graph.outer is None or slot >= len(graph.input_names):
            return None
        outside, node = graph.outer
        for item in node.get("inputs") or ():
            if item["name"] == graph.input_names[slot] and item.get("link") is not None:
                return self._from_link(outside, item["link"])
        return None

    def _from_node(self, graph: _Graph, node: dict[str, Any], slot: int) -> Source:
        name, mode = node["type"], node.get("mode")
        if mode == MUTED:
            return None
        if mode == BYPASSED or name in _PASSING:
            return self._past(graph, node, slot)
        if name == "PrimitiveNode":
            values = node.get("widgets_values") or [None]
            return Value(values[0])
        if name in self._subgraphs:
            inside = self._open(graph, node)
            link = inside.outputs.get(slot)
            return None if link is None else self._from_link(inside, link)
        return f"{graph.prefix}{node['id']}", slot

    def _past(self, graph: _Graph, node: dict[str, Any], slot: int) -> Source:
        """Returns what goes past a node that does not run: the input at the same place, or the first of the type."""
        inputs, outputs = node.get("inputs") or [], node.get("outputs") or []
        wanted = outputs[slot]["type"] if slot < len(outputs) else "*"
        order = [inputs[slot], *inputs] if slot < len(inputs) else inputs
        for item in order:
            fits = wanted == item.get("type") or "*" in {wanted, item.get("type")}
            if item.get("link") is not None and (fits or node["type"] in _PASSING):
                return self._from_link(graph, item["link"])
        return None

    def _widgets(self, node: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        values = node.get("widgets_values")
        if isinstance(values, dict):
            yield from values.items()
            return
        left = list(values or ())
        entry = self._catalogue.get(node["type"], {}).get("input", {})
        for group in ("required", "optional"):
            specs = entry.get(group) or {}
            order = self._catalogue[node["type"]].get("input_order", {}).get(group) or list(specs)
            drawn = {slot["name"] for slot in node.get("inputs") or () if "widget" in slot}
            for name in order:
                yield from self._widget(name, specs[name], left, drawn=name in drawn)

    def _widget(self, name: str, spec: list[Any], left: list[Any], *, drawn: bool = False) -> Iterator[tuple[str, Any]]:
        kind, config = spec[0], spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
        dynamic = kind == "COMFY_DYNAMICCOMBO_V3"
        usual = isinstance(kind, list) or kind in _WIDGETS or dynamic or config.get("socketless")
        if not (usual or drawn) or config.get("forceInput"):
            return
        if not left:
            if "default" in config:
                yield name, config["default"]
            elif isinstance(kind, list) and kind:
                yield name, kind[0]
            elif not isinstance(kind, list) and kind not in _WIDGETS:
                yield name, ""
            return
        value = left.pop(0)
        yield name, value
        if left and isinstance(left[0], str) and left[0] in _CONTROL and kind == "INT":
            left.pop(0)
        for option in config.get("options") or () if dynamic else ():
            if option.get("key") == value:
                for group in option.get("inputs", {}).values():
                    for inner, inner_spec in group.items():
                        yield from self._widget(f"{name}.{inner}", inner_spec, left)


def _graph(document: Mapping[str, Any]) -> _Graph:
    links: dict[Any, tuple[Any, int]] = {}
    outputs: dict[int, Any] = {}
    for link in document.get("links") or ():
        if isinstance(link, dict):
            links[link["id"]] = (link["origin_id"], link["origin_slot"])
            if link["target_id"] == _OUTPUTS:
                outputs[link["target_slot"]] = link["id"]
        else:
            links[link[0]] = (link[1], link[2])
    return _Graph({node["id"]: node for node in document["nodes"]}, links, outputs)

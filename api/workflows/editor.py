"""Turns a workflow of ComfyUI's editor into what its server runs, as the editor's "Export (API)" does.

Muted nodes go, bypassed ones pass on what has the type of their output, subgraphs are put in their places, and the
values of widgets get their names from what the runtime tells of the class.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.workflows.errors import WorkflowError
from api.workflows.graphs import (
    INPUTS,
    Graph,
    Node,
    dicts,
    link_of,
    open_subgraph,
    read_graph,
    read_subgraphs,
)
from api.workflows.widgets import values_of
from contract.catalogue import Entry

MUTED, BYPASSED = 2, 4

MOST_NODES: Final = 10_000
"""Nodes that a workflow may come to, its subgraphs in their places."""

_MOST_STEPS: Final = 100_000
"""Links that are followed in all: some tenths of a second."""

_MOST_READ: Final = 400_000
"""What is looked at in all while subgraphs are put in their places and links pass nodes: nodes, links, inputs, values.
A file comes to far more than it holds by a large subgraph in many places, or many links past a node of many inputs."""

_PASSING: Final = frozenset({"Reroute", "Reroute (rgthree)"})
_PRIMITIVE: Final = "PrimitiveNode"
_GETS: Final = frozenset({"GetNode", "easy getNode"})
_SETS: Final = frozenset({"SetNode", "easy setNode"})
_DRAWN: Final = frozenset(
    {
        "Note",
        "MarkdownNote",
        "Label (rgthree)",
        "Bookmark (rgthree)",
        "Fast Muter (rgthree)",
        "Fast Bypasser (rgthree)",
        "Fast Groups Muter (rgthree)",
        "Fast Groups Bypasser (rgthree)",
        "Fast Actions Button (rgthree)",
        "Mute / Bypass Repeater (rgthree)",
        "Mute / Bypass Relay (rgthree)",
        "Random Unmuter (rgthree)",
        "Node Collector (rgthree)",
        "Anything Everywhere",
        "Anything Everywhere3",
        "Anything Everywhere?",
        "Prompts Everywhere",
        "Seed Everywhere",
    }
)
"""What the editor draws, and no server runs."""

_GROUP_NODES: Final = ("workflow>", "workflow/")

type Source = tuple[str, int] | Value | None
"""A node and its output, a constant, or nothing."""


@dataclass(frozen=True)
class Value:
    """A constant in the place of a link."""

    value: Any


@dataclass(frozen=True)
class _Step:
    """Where to go on."""

    graph: Graph
    link: str


@dataclass
class Converted:
    """What came of a conversion."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """In API form, with a title in `_meta`."""
    promoted: set[tuple[str, str]] = field(default_factory=set)
    """Node and input of the values that the author shows on the outside of a subgraph."""
    origins: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Node → its `properties`: the pack of custom nodes that it comes from, the models that it wants."""
    warnings: list[str] = field(default_factory=list)


def convert(document: Mapping[str, Any], catalogue: Mapping[str, Entry]) -> Converted:
    """Returns the workflow as `POST /prompt` takes it.

    Args:
        document: what the editor saves.
        catalogue: what the runtime tells of its nodes; only the classes that the workflow has are looked up.

    Raises:
        WorkflowError: its shape is none that the editor writes, or it comes to too much.
    """
    return _Converter(document, catalogue).convert()


class _Converter:
    def __init__(self, document: Mapping[str, Any], catalogue: Mapping[str, Entry]) -> None:
        self._catalogue = catalogue
        self._entries: dict[str, Entry | None] = {}
        self._subgraphs = read_subgraphs(document)
        self._inside: dict[tuple[int, str], Graph] = {}
        self._top = read_graph(document)
        self._steps = 0
        self._nodes = 0
        self._read = 0

    def convert(self) -> Converted:
        converted = Converted()
        for graph, key, node in self._every(self._top):
            kind = node["type"]
            if _is_off(node) or kind in _DRAWN | _PASSING | _GETS | _SETS | {_PRIMITIVE}:
                continue
            if kind.startswith(_GROUP_NODES):
                raise WorkflowError(
                    f"node {key}: {kind!r:.80} is a group node, which ComfyUI has given up; open the workflow in the "
                    "editor and convert it to a subgraph, or save it with Export (API)"
                )
            name = graph.prefix + key
            converted.nodes[name] = {
                "inputs": self._inputs(graph, key, node, converted),
                "class_type": kind,
                "_meta": {"title": _title(node)},
            }
            if isinstance(node.get("properties"), dict):
                converted.origins[name] = node["properties"]
        return converted

    def _inputs(self, graph: Graph, key: str, node: Node, converted: Converted) -> dict[str, Any]:
        name = graph.prefix + key
        inputs = values_of(node, self._entry(node["type"]))
        inputs |= {widget: value for (where, widget), value in graph.overrides.items() if where == key}
        converted.promoted |= {(name, widget) for where, widget in graph.overrides if where == key}
        for slot in dicts(node.get("inputs")):
            link, label = link_of(slot), slot.get("name")
            if link is None or not isinstance(label, str):
                continue
            match self._source(graph, link):
                case Value(value):
                    inputs[label] = value
                case (where, index):
                    inputs[label] = [where, index]
                case None if "widget" not in slot:
                    inputs.pop(label, None)
            if graph.kind and graph.links.get(link, ("",))[0] == INPUTS and not isinstance(inputs.get(label), list):
                converted.promoted.add((name, label))
        return inputs

    def _every(self, graph: Graph) -> Iterator[tuple[Graph, str, Node]]:
        for key, node in graph.nodes.items():
            self._nodes += 1
            if self._nodes > MOST_NODES:
                raise WorkflowError(f"the workflow comes to more than {MOST_NODES} nodes, subgraphs in their places")
            if node["type"] in self._subgraphs:
                if not _is_off(node):
                    yield from self._every(self._open(graph, key, node))
            else:
                yield graph, key, node

    def _open(self, graph: Graph, key: str, node: Node) -> Graph:
        place = (id(graph), key)
        if place not in self._inside:
            self._count(self._subgraphs[node["type"]], "nodes", "links", "inputs")
            self._inside[place] = open_subgraph(graph, node, self._subgraphs[node["type"]])
        return self._inside[place]

    def _count(self, item: Mapping[str, Any], *names: str) -> None:
        """Counts what is looked at.

        Raises:
            WorkflowError: it is too much.
        """
        self._read += sum(len(found) for name in names if isinstance(found := item.get(name), list | dict))
        if self._read > _MOST_READ:
            raise WorkflowError(
                "the workflow comes to too much: subgraphs that are large and used often, or long lists"
            )

    def _entry(self, kind: str) -> Entry | None:
        if kind not in self._entries:
            self._entries[kind] = self._catalogue.get(kind)
        return self._entries[kind]

    def _source(self, graph: Graph, link: str) -> Source:
        """Follows a link through all that only passes something on; links in a circle lead to nothing."""
        fallback: Source = None
        seen: set[tuple[int, str]] = set()
        while (id(graph), link) not in seen and link in graph.links:
            seen.add((id(graph), link))
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise WorkflowError("the workflow's links pass through too many nodes that only pass something on")
            key, slot = graph.links[link]
            if key == INPUTS:
                if graph.outer is None or not 0 <= slot < len(graph.input_names):
                    return fallback
                name = graph.input_names[slot]
                fallback = self._given(graph, name) or fallback
                graph, outside = graph.outer
                self._count(outside, "inputs")
                step: _Step | Source = _at(graph, _link_into(outside, name))
            else:
                step = self._past(graph, key, slot)
            if not isinstance(step, _Step):
                return fallback if step is None else step
            graph, link = step.graph, step.link
        return fallback

    def _given(self, graph: Graph, name: str) -> Value | None:
        """Returns the value of a subgraph's input where no link leads into it."""
        if name in graph.given:
            return Value(graph.given[name])
        key, widget = graph.drawn.get(name, ("", ""))
        node = graph.nodes.get(key)
        if node is None:
            return None
        self._count(node, "inputs", "widgets_values")
        values = values_of(node, self._entry(node["type"]))
        return Value(values[widget]) if widget in values else None

    def _past(self, graph: Graph, key: str, slot: int) -> _Step | Source:
        """Returns what comes out of a node, or the link at which to go on."""
        node = graph.nodes.get(key)
        if node is None or node.get("mode") == MUTED:
            return None
        kind = node["type"]
        if node.get("mode") == BYPASSED or kind in _PASSING | _SETS:
            self._count(node, "inputs", "outputs")
            return _at(graph, _first_link(node) if kind in _SETS else _passed_on(node, slot))
        if kind in _GETS:
            return self._named(graph, node)
        if kind == _PRIMITIVE:
            return Value(_first_value(node)) if node.get("widgets_values") else None
        if kind in self._subgraphs:
            inside = self._open(graph, key, node)
            return _at(inside, inside.outputs.get(slot))
        return f"{graph.prefix}{key}", slot

    def _named(self, graph: Graph, node: Node) -> _Step | None:
        """Returns the link into the Set node whose name a Get node gives."""
        wanted = _first_value(node)
        for place in graph.around:
            for other in place.nodes.values():
                self._steps += 1
                if other["type"] in _SETS and wanted and _first_value(other) == wanted:
                    return _at(place, _first_link(other))
        return None


def _at(graph: Graph, link: str | None) -> _Step | None:
    return None if link is None else _Step(graph, link)


def _is_off(node: Node) -> bool:
    return any(node.get("mode") == mode for mode in (MUTED, BYPASSED))


def _title(node: Node) -> str:
    properties = node.get("properties")
    named = properties.get("Node name for S&R") if isinstance(properties, dict) else None
    title = node.get("title") or named or node["type"]
    return str(title)[:200]


def _link_into(node: Node, name: str) -> str | None:
    for slot in dicts(node.get("inputs")):
        if slot.get("name") == name:
            return link_of(slot)
    return None


def _first_link(node: Node) -> str | None:
    slots = dicts(node.get("inputs"))
    return link_of(slots[0]) if slots else None


def _first_value(node: Node) -> Any:
    values = node.get("widgets_values")
    return values[0] if isinstance(values, list) and values else None


def _passed_on(node: Node, slot: int) -> str | None:
    """Returns the link that goes past a node that does not run.

    It is that into the input at the same place, or the first one of the output's type.
    """
    inputs, outputs = dicts(node.get("inputs")), dicts(node.get("outputs"))
    wanted = outputs[slot].get("type") if 0 <= slot < len(outputs) else "*"
    for item in [inputs[slot], *inputs] if 0 <= slot < len(inputs) else inputs:
        fits = wanted == item.get("type") or "*" in {str(wanted), str(item.get("type"))}
        if (fits or node["type"] in _PASSING) and (link := link_of(item)) is not None:
            return link
    return None

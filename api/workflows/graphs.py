"""Reads the graphs of a workflow as ComfyUI's editor saves it: nodes, links, and what stands around a subgraph.

The shapes are those of `comfyui-frontend-package` 1.16 to 1.58, schema version 0.4 (links as lists) and 1 (as objects).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from api.workflows.errors import WorkflowError

INPUTS: Final = "-10"
"""The id that stands for a subgraph's inputs, within it."""
OUTPUTS: Final = "-20"

DEEPEST: Final = 40
"""Subgraphs within each other."""

type Node = Mapping[str, Any]


@dataclass(eq=False)
class Graph:
    """A workflow, or the inside of one node that stands for a subgraph."""

    nodes: dict[str, dict[str, Any]]
    links: dict[str, tuple[str, int]]
    """Id of a link → node and slot from which it comes."""
    outputs: dict[int, str] = field(default_factory=dict)
    """Slot of the subgraph → the link that leads into it."""
    input_names: list[str] = field(default_factory=list)
    prefix: str = ""
    """Of the ids of its nodes: those of the nodes around it, with colons between."""
    kind: str = ""
    """The id of the subgraph; empty: the workflow itself."""
    outer: tuple[Graph, Node] | None = None
    """Where it stands, and the node that stands for it."""
    given: dict[str, Any] = field(default_factory=dict)
    """Values that the node around it gives to the subgraph's inputs."""
    overrides: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Values that it gives to widgets of nodes inside."""
    drawn: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Input of the subgraph → the node inside and its widget that are drawn for it."""

    @property
    def around(self) -> Iterator[Graph]:
        """Yields it, and the graphs that it stands in, from the inside to the outside."""
        graph: Graph | None = self
        while graph is not None:
            yield graph
            graph = graph.outer[0] if graph.outer else None


def read_graph(document: Mapping[str, Any]) -> Graph:
    """Returns the outermost graph.

    Raises:
        WorkflowError: its shape is another one.
    """
    graph = _read(document)
    _add_links_from_everywhere(graph, document.get("extra"))
    return graph


def read_subgraphs(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the definitions of subgraphs, by their ids.

    Raises:
        WorkflowError: the shape is another one.
    """
    definitions = document.get("definitions")
    listed = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    found = {}
    for item in listed if isinstance(listed, list) else ():
        if not isinstance(item, dict) or not isinstance(item.get("id"), str):
            raise WorkflowError("a subgraph of the workflow has no id")
        found[item["id"]] = item
    return found


def open_subgraph(graph: Graph, node: Node, definition: Mapping[str, Any]) -> Graph:
    """Returns the inside of a node that stands for a subgraph.

    Raises:
        WorkflowError: the subgraph holds itself, or the shape is another one.
    """
    kind = definition["id"]
    around = list(graph.around)
    if any(item.kind == kind for item in around):
        raise WorkflowError(f"the subgraph {_title(definition)!r} contains itself")
    if len(around) > DEEPEST:
        raise WorkflowError(f"the workflow has more than {DEEPEST} subgraphs within each other")
    inside = _read(definition)
    inside.kind = kind
    inside.prefix = f"{graph.prefix}{identifier(node.get('id'))}:"
    inside.outer = (graph, node)
    inside.input_names = [str(item.get("name")) for item in dicts(definition.get("inputs"))]
    _read_given(inside, node, definition)
    return inside


def dicts(value: Any) -> list[dict[str, Any]]:
    """Returns the objects in a list; none where there is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def identifier(value: Any) -> str:
    """Returns the id of a node or link: files hold them as numbers and as texts.

    Raises:
        WorkflowError: it is neither.
    """
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)[:200]
    raise WorkflowError(f"a node or link of the workflow has the id {value!r:.80}; expected a number or a text")


def link_of(slot: Mapping[str, Any]) -> str | None:
    """Returns the link that leads into an input."""
    link = slot.get("link")
    return None if link is None else identifier(link)


def widget_names(node: Node) -> list[str]:
    """Returns the inputs of a node that the editor draws as widgets, in order (since frontend 1.16)."""
    return [slot["widget"]["name"] for slot in dicts(node.get("inputs")) if _has_widget(slot)]


def _has_widget(slot: Mapping[str, Any]) -> bool:
    widget = slot.get("widget")
    return isinstance(widget, dict) and isinstance(widget.get("name"), str)


def _title(definition: Mapping[str, Any]) -> str:
    return str(definition.get("name") or definition["id"])[:80]


def _read(document: Mapping[str, Any]) -> Graph:
    nodes: dict[str, dict[str, Any]] = {}
    for node in document.get("nodes") or ():
        if not isinstance(node, dict) or not isinstance(node.get("type"), str):
            raise WorkflowError("a node of the workflow is no object with a type")
        nodes[identifier(node.get("id"))] = node
    graph = Graph(nodes, {})
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        match link:
            case {"id": key, "origin_id": origin, "origin_slot": int(slot), **rest}:
                graph.links[identifier(key)] = (identifier(origin), slot)
                target = rest.get("target_slot")
                if str(rest.get("target_id")) == OUTPUTS and isinstance(target, int):
                    graph.outputs[target] = identifier(key)
            case [key, origin, int(slot), *_]:
                graph.links[identifier(key)] = (identifier(origin), slot)
            case None:
                continue
            case _:
                raise WorkflowError("a link of the workflow has a shape that the editor does not write")
    return graph


def _read_given(inside: Graph, node: Node, definition: Mapping[str, Any]) -> None:
    """Reads the values that a node keeps for the subgraph that it stands for.

    Editors of today keep one for each of the subgraph's inputs that is a widget within it. Those of 2025 listed widgets
    in `proxyWidgets` as [node, name], -1 for the subgraph's own inputs, and most kept the values inside alone.
    """
    inside.drawn = own = _inputs_with_widgets(inside, definition)
    values = node.get("widgets_values")
    if not isinstance(values, list) or not values:
        return
    properties = node.get("properties")
    listed = properties.get("proxyWidgets") if isinstance(properties, dict) else None
    if isinstance(listed, list) and len(listed) == len(values) != len(own):
        for entry, value in zip(listed, values, strict=True):
            match entry:
                case ["-1", str(name), *_]:
                    inside.given[name] = value
                case [str(key), str(name), *_]:
                    inside.overrides[key, name] = value
    elif len(own) == len(values):
        inside.given.update(zip(own, values, strict=True))


def _inputs_with_widgets(inside: Graph, definition: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    targets: dict[str, tuple[str, Any]] = {}
    for link in dicts(definition.get("links")):
        targets[str(link.get("id"))] = (str(link.get("target_id")), link.get("target_slot"))
    slots_of: dict[str, list[dict[str, Any]]] = {}
    found: dict[str, tuple[str, str]] = {}
    for item in dicts(definition.get("inputs")):
        ids = item.get("linkIds")
        for link in ids if isinstance(ids, list) else ():
            key, slot = targets.get(str(link), ("", None))
            if key not in slots_of:
                slots_of[key] = dicts(inside.nodes.get(key, {}).get("inputs"))
            slots = slots_of[key]
            if isinstance(slot, int) and 0 <= slot < len(slots) and _has_widget(slots[slot]):
                found[str(item.get("name"))] = (key, slots[slot]["widget"]["name"])
                break
    return found


def _add_links_from_everywhere(graph: Graph, extra: Any) -> None:
    """Adds the links that the nodes of cg-use-everywhere ("Anything Everywhere") draw when a workflow is run."""
    for number, link in enumerate(dicts(extra.get("ue_links") if isinstance(extra, dict) else None)):
        target = graph.nodes.get(str(link.get("downstream")))
        slots, at, slot = dicts((target or {}).get("inputs")), link.get("downstream_slot"), link.get("upstream_slot")
        if isinstance(at, int) and isinstance(slot, int) and 0 <= at < len(slots) and slots[at].get("link") is None:
            key = f"everywhere {number}"
            graph.links[key] = (identifier(link.get("upstream")), slot)
            slots[at]["link"] = key

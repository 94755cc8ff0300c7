"""Reads what a session made, from its item of the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.runtimes.invokeai.graph import image_names


def session_id(item: Mapping[str, Any]) -> str:
    """Returns the session's id, by which the server's images say who made them."""
    return str(item.get("session_id") or "")


def made_images(item: Mapping[str, Any]) -> list[str]:
    """Returns the images that the session's nodes put out, each once, in the order in which the nodes ran."""
    return image_names(_mapping(_session(item), "results"))


def last_images(item: Mapping[str, Any]) -> list[str]:
    """Returns the images of the nodes from which no edge leads on, in the order in which they ran."""
    session = _session(item)
    last = set(_last_nodes(session))
    return image_names([result for node, result in _mapping(session, "results").items() if node in last])


def failed_node(item: Mapping[str, Any]) -> tuple[str, str]:
    """Returns id (that of the graph) and type of the node that failed; empty where the item does not say.

    What runs is a copy of the graph's node under an id of its own: one for each turn of an iteration.
    """
    session = _session(item)
    prepared = next(iter(_mapping(session, "errors")), "")
    node = _mapping(_mapping(_mapping(session, "execution_graph"), "nodes"), prepared)
    return str(_mapping(session, "prepared_source_mapping").get(prepared, "")), str(node.get("type") or "")


def _last_nodes(session: Mapping[str, Any]) -> Iterator[str]:
    """Yields the ids under which the graph's last nodes ran."""
    graph = _mapping(session, "graph")
    edges = graph.get("edges")
    sources = {_mapping(edge, "source").get("node_id") for edge in edges or () if isinstance(edge, dict)}
    for prepared, node in _mapping(session, "prepared_source_mapping").items():
        if node not in sources:
            yield prepared


def _session(item: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(item, "session")


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}

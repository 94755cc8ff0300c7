"""What InvokeAI refuses to put into its queue, and in which words."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, check
from tests.conformance.invokeai.client import QUEUE, InvokeAi
from tests.conformance.shapes import ANY, Only
from tests.support.graphs import Graph, plain

_GRAPH = ("body", "batch", "graph")
_NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


def _fault(kind: str, place: tuple[Any, ...], message: Any = str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "loc": list(place), "msg": message, "input": ANY, **more}


def _refused(name: str, expected: list[dict[str, Any]], **request: Any) -> Case:
    async def refused(server: InvokeAi) -> None:
        before = (await server.status())["queue"]["total"]
        await server.refuses("POST", f"{QUEUE}/enqueue_batch", 422, Only({"detail": expected}), **request)
        check("the queue has as many items as before", before, (await server.status())["queue"]["total"])

    places = ", ".join(".".join(str(part) for part in fault["loc"]) for fault in expected)
    return Case(f"refuses-{name}", f"POST enqueue_batch is 422 at {places}, and queues nothing", refused)


def _graph(name: str, graph: Any, *expected: dict[str, Any], **fields: Any) -> Case:
    return _refused(name, list(expected), json={"batch": {"graph": graph, "runs": 1, **fields}})


def _node(name: str, field: str, kind: str, message: str, **fields: Any) -> Case:
    node_type = fields.pop("type", "blank_image")
    graph = Graph().node("a", node_type, **fields)
    return _graph(name, graph, _fault(kind, (*_GRAPH, "nodes", "a", node_type, field), message))


def _whole(name: str, graph: Any, words: str) -> Case:
    """What is wrong with the graph as a whole."""
    return _graph(name, graph, _fault("value_error", _GRAPH, f"Value error, {words}", ctx={"error": {}}))


def _nodes(**nodes: Any) -> dict[str, Any]:
    return {"nodes": nodes, "edges": []}


BODIES = (
    _refused("an-empty-body", [_fault("missing", ("body", "batch"), "Field required")], data=b""),
    _refused("a-body-without-a-batch", [_fault("missing", ("body", "batch"), "Field required")], json={}),
    _refused(
        "malformed-json",
        [_fault("json_invalid", ("body", 1), "JSON decode error", ctx={"error": str})],
        data=b"{",
        headers={"Content-Type": "application/json"},
    ),
    _refused("a-batch-without-a-graph", [_fault("missing", (*_GRAPH,), "Field required")], json={"batch": {"runs": 1}}),
    _graph(
        "no-runs",
        plain(),
        _fault("greater_than_equal", ("body", "batch", "runs"), "Input should be greater than or equal to 1"),
        runs=0,
    ),
)

SHAPES = (
    _graph("a-graph-that-is-a-number", 3, _fault("model_attributes_type", _GRAPH, _NO_OBJECT)),
    _graph("a-graph-that-is-null", None, _fault("model_attributes_type", _GRAPH, _NO_OBJECT)),
    _graph(
        "a-list-of-nodes",
        {"nodes": [{"id": "a", "type": "blank_image"}]},
        _fault("dict_type", (*_GRAPH, "nodes"), "Input should be a valid dictionary"),
    ),
    _graph(
        "a-node-that-is-a-number", _nodes(a=3), _fault("model_attributes_type", (*_GRAPH, "nodes", "a"), _NO_OBJECT)
    ),
    _graph(
        "a-node-without-a-type",
        _nodes(a={"id": "a"}),
        _fault("union_tag_not_found", (*_GRAPH, "nodes", "a"), "Unable to extract tag using discriminator 'type'"),
    ),
    _graph(
        "a-node-of-an-unknown-type",
        Graph().node("a", "no_such_node"),
        _fault("union_tag_invalid", (*_GRAPH, "nodes", "a"), ctx={"tag": "no_such_node", "expected_tags": str}),
    ),
    _graph(
        "an-edge-without-an-end",
        {**plain(), "edges": [{"source": "a"}]},
        _fault("model_attributes_type", (*_GRAPH, "edges", 0, "source"), _NO_OBJECT),
        _fault("missing", (*_GRAPH, "edges", 0, "destination"), "Field required"),
    ),
)

FIELDS = (
    _node(
        "a-text-for-a-number",
        "width",
        "int_parsing",
        "Input should be a valid integer, unable to parse string as an integer",
        width="x",
    ),
    _node("a-size-of-nought", "width", "greater_than", "Input should be greater than 0", type="img_resize", width=0),
    _node(
        "a-negative-radius",
        "radius",
        "greater_than_equal",
        "Input should be greater than or equal to 0",
        type="img_blur",
        radius=-1,
    ),
    _node("noise-of-an-odd-size", "width", "multiple_of", "Input should be a multiple of 8", type="noise", width=63),
    _node("an-unknown-mode", "mode", "literal_error", "Input should be 'RGB' or 'RGBA'", mode="CMYK"),
    _graph(
        "an-image-without-a-name",
        Graph().node("a", "img_blur", image={}),
        _fault("missing", (*_GRAPH, "nodes", "a", "img_blur", "image", "image_name"), "Field required"),
    ),
)


def _two() -> Graph:
    return plain().node("blur", "img_blur")


WHOLE = (
    _whole("an-id-that-is-another", _nodes(a={"id": "b", "type": "blank_image"}), "Node ids must match, got a and b"),
    _whole(
        "an-edge-from-nowhere",
        plain().edge("no", "image", "blank", "width"),
        "Edge source node no does not exist in the graph",
    ),
    _whole(
        "an-edge-to-nowhere",
        plain().edge("blank", "image", "no"),
        "Edge destination node no does not exist in the graph",
    ),
    _whole(
        "an-edge-from-no-field",
        _two().edge("blank", "no", "blur", "image"),
        "Edge source field no does not exist in node blank",
    ),
    _whole(
        "an-edge-to-no-field",
        _two().edge("blank", "image", "blur", "no"),
        "Edge destination field no does not exist in node blur",
    ),
    _whole(
        "an-edge-between-types",
        _two().edge("blank", "image", "blur", "radius"),
        "Edge source and target types do not match (blank.image -> blur.radius)",
    ),
    _whole(
        "a-circle",
        Graph().node("a", "img_blur").node("b", "img_blur").edge("a", "image", "b").edge("b", "image", "a"),
        "Graph contains cycles",
    ),
    _whole("an-edge-to-itself", Graph().node("a", "img_blur").edge("a", "image", "a"), "Graph contains cycles"),
)


def _other(name: str, method: str, path: str, *place: str, **request: Any) -> Case:
    async def refused(server: InvokeAi) -> None:
        fault = {"type": "missing", "loc": list(place), "msg": "Field required", "input": None}
        await server.refuses(method, QUEUE + path, 422, {"detail": [fault]}, **request)

    return Case(f"refuses-{name}", f"{method} {path} is 422 at {'.'.join(place)}", refused)


OTHERS = (
    _other("a-cancellation-of-no-batches", "PUT", "/cancel_by_batch_ids", "body", "batch_ids"),
    _other("a-cancellation-of-no-destination", "PUT", "/cancel_by_destination", "query", "destination"),
)


async def _item_id(server: InvokeAi) -> None:
    message = "Input should be a valid integer, unable to parse string as an integer"
    fault = {"type": "int_parsing", "loc": ["path", "item_id"], "msg": message, "input": "abc"}
    await server.refuses("GET", f"{QUEUE}/i/abc", 422, {"detail": [fault]})


ITEM_ID = (Case("refuses-an-item-id-that-is-a-word", "GET /i/abc is 422 at path.item_id", _item_id),)

"""What becomes of an item whose node fails."""

from __future__ import annotations

from typing import Any

from tests.conformance.case import Case, case, check
from tests.conformance.invokeai.client import InvokeAi, color
from tests.support.graphs import MODEL, Graph, of_image, plain


def _failure(name: str, graph: Graph, kind: str, message: str) -> Case:
    async def fails(server: InvokeAi) -> None:
        item = await server.run(graph)
        expected = {"status": "failed", "error_type": kind, "error_message": message, "error_traceback": str}
        check("the item", expected, item)
        session = item["session"]
        (prepared,) = session["errors"]
        check("the errors", {prepared: f"{kind}: {message}"}, session["errors"])
        check("the node", "a", session["prepared_source_mapping"][prepared])

    return Case(f"fails-{name}", f"the item fails with {kind}: {message}", fails)


def _of(kind: str, **fields: Any) -> Graph:
    return Graph().node("a", kind, **fields)


FAILURES = (
    _failure(
        "without-an-input",
        _of("img_blur"),
        "MissingInputException",
        "Node img_blur missing value or connection for field image",
    ),
    _failure(
        "without-a-connection",
        _of("l2i"),
        "RequiredConnectionException",
        "Node l2i missing connections for field latents",
    ),
    _failure(
        "on-an-image-that-is-not-there",
        _of("img_blur", image={"image_name": "no.png"}),
        "ImageRecordNotFoundException",
        "Image record not found",
    ),
    _failure(
        "to-pass-on-what-is-not-there",
        _of("image", image={"image_name": "no.png"}),
        "ImageRecordNotFoundException",
        "Image record not found",
    ),
    _failure("at-a-negative-size", _of("blank_image", width=-3), "ValueError", "Width and height must be >= 0"),
    _failure(
        "without-the-model",
        _of("main_model_loader", model={**MODEL, "key": "no-such-key", "name": "no such model"}),
        "Exception",
        "Unknown model no-such-key",
    ),
)


@case("what ran before the failure is named, what would have come after is not")
async def before_a_failure(server: InvokeAi) -> None:
    graph = plain(color=color()).node("bad", "img_resize", width=4, height=4, resample_mode="box")
    graph.node("worse", "img_blur").node("after", "img_blur")
    graph.edge("blank", "image", "bad").edge("worse", "image", "after")
    await server.idle()
    item_id = await server.submit(graph)
    await server.ended(item_id)
    await server.idle()
    item = await server.item(item_id)
    check("the status", "failed", item["status"])
    mapping = item["session"]["prepared_source_mapping"]
    check("what failed", ["worse"], [mapping[prepared] for prepared in item["session"]["errors"]])
    ran = {mapping[prepared] for prepared in item["session"]["results"]}
    check("what came after did not run", False, "after" in ran)


@case("after a failure the next item runs as ever")
async def after_a_failure(server: InvokeAi) -> None:
    await server.run(of_image("no.png"))
    await server.completed(plain())

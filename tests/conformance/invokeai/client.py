"""What cases do to an InvokeAI server."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from tests.conformance.case import NotApplicableError, check
from tests.conformance.server import Reply, Server, eventually
from tests.support.graphs import Graph

QUEUE: Final = "/api/v1/queue/default"
IMAGES: Final = "/api/v1/images"
ENDED: Final = frozenset({"completed", "failed", "canceled"})
_BLUR_PIXELS: Final = 768
_BLURS_PER_SECOND: Final = 15
_WITHIN: Final = 120.0


class InvokeAi(Server):
    """An InvokeAI server."""

    ready_path = "/api/v1/app/version"

    async def enqueue(self, graph: Graph, *, prepend: bool = False, **fields: Any) -> dict[str, Any]:
        """Queues a graph; returns the answer. Fields are the batch's."""
        body = {"batch": {"graph": graph, "runs": 1, **fields}, "prepend": prepend}
        answer: dict[str, Any] = await self.post(f"{QUEUE}/enqueue_batch", body)
        return answer

    async def submit(self, graph: Graph, **fields: Any) -> int:
        """Queues a graph; returns its item's id."""
        return int((await self.enqueue(graph, **fields))["item_ids"][0])

    async def item(self, item_id: int) -> dict[str, Any]:
        """Returns an item of the queue."""
        found: dict[str, Any] = await self.get(f"{QUEUE}/i/{item_id}")
        return found

    async def ended(self, item_id: int) -> dict[str, Any]:
        """Returns an item once it has ended, whichever way."""

        async def has_ended() -> dict[str, Any] | None:
            item = await self.item(item_id)
            return item if item["status"] in ENDED else None

        item = await eventually("the item ends", has_ended, within=_WITHIN)
        assert item is not None
        return item

    async def run(self, graph: Graph, **fields: Any) -> dict[str, Any]:
        """Runs a graph to its end; returns its item."""
        return await self.ended(await self.submit(graph, **fields))

    async def completed(self, graph: Graph, **fields: Any) -> dict[str, Any]:
        """Runs a graph to its end, which must be a good one; returns its item."""
        item = await self.run(graph, **fields)
        check("the status", "completed", item["status"])
        return item

    async def running(self, item_id: int) -> None:
        """Returns once an item runs."""

        async def runs() -> bool:
            return bool((await self.item(item_id))["status"] == "in_progress")

        await eventually("the item begins", runs, within=_WITHIN)

    async def status(self) -> dict[str, Any]:
        """Returns the queue's and the processor's status."""
        found: dict[str, Any] = await self.get(f"{QUEUE}/status")
        return found

    async def idle(self) -> None:
        """Returns once the processor is at nothing."""

        async def is_idle() -> bool:
            return not (await self.status())["processor"]["is_processing"]

        await eventually("the processor is idle", is_idle, within=_WITHIN)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Lets nothing of what is queued begin."""
        await self.put(f"{QUEUE}/processor/pause")
        try:
            yield
        finally:
            await self.put(f"{QUEUE}/processor/resume")

    async def put(self, path: str, document: Any = None, **options: Any) -> Any:
        """Returns the body of a PUT that must answer 200."""
        return await self._body("PUT", path, {**({} if document is None else {"json": document}), **options})

    async def delete(self, path: str) -> Any:
        """Returns the body of a DELETE that must answer 200."""
        return await self._body("DELETE", path, {})

    async def upload(self, data: bytes, *, kind: str = "image/png", field: str = "file", **query: str) -> Reply:
        """Uploads a file."""
        form = aiohttp.FormData()
        form.add_field(field, data, filename="up.png", content_type=kind)
        query = query or {"image_category": "user", "is_intermediate": "true"}
        return await self.send("POST", f"{IMAGES}/upload", data=form, params=query)

    async def uploaded(self, data: bytes) -> str:
        """Uploads a picture; returns its name."""
        reply = await self.upload(data)
        check("POST upload", {"status": 201, "body": {"image_name": str}}, reply.shown())
        return str(reply.body["image_name"])

    async def model(self) -> dict[str, Any]:
        """Returns a checkpoint of SD 1's kind, as graphs name it.

        Raises:
            NotApplicableError: there is none.
        """
        found = await self.send("GET", "/api/v2/models/", params={"base_models": "sd-1", "model_type": "main"})
        models = found.body.get("models") if isinstance(found.body, dict) else None
        if not models:
            raise NotApplicableError("the server has no checkpoint of SD 1's kind")
        return {name: models[0][name] for name in ("key", "hash", "name", "base", "type")}

    def busy(self) -> Graph:
        """Returns a graph without a model that runs for about `busy_seconds`, and that no cache can answer."""
        graph = Graph().node("in", "blank_image", width=_BLUR_PIXELS, height=_BLUR_PIXELS, use_cache=False)
        last = "in"
        for number in range(max(4, int(self.busy_seconds * _BLURS_PER_SECOND))):
            graph.node(f"b{number}", "img_blur", radius=20, use_cache=False)
            graph.edge(last, "image", f"b{number}")
            last = f"b{number}"
        for node in graph["nodes"].values():
            node["is_intermediate"] = True
        return graph


def fresh() -> str:
    """Returns a text that no other case has used."""
    return uuid.uuid4().hex


def color() -> dict[str, int]:
    """Returns a colour that no other case has used, as good as surely."""
    number = uuid.uuid4().int
    return {"r": number & 255, "g": number >> 8 & 255, "b": number >> 16 & 255, "a": 255}


def images_of(item: dict[str, Any]) -> dict[str, str]:
    """Returns the images that an item's nodes put out, by the nodes' ids in the graph."""
    session = item["session"]
    names = session["prepared_source_mapping"]
    return {
        names[prepared]: result["image"]["image_name"]
        for prepared, result in session["results"].items()
        if "image" in result
    }

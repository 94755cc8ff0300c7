"""What cases do to a server of OpenAI's image API."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, Final

import aiohttp

from tests.conformance.case import DeviationError, NotApplicableError, check
from tests.conformance.server import Reply, Server, eventually
from tests.conformance.shapes import Each

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
VIDEOS: Final = "/v1/videos"
IMAGES: Final = {"status": 200, "body": {"data": Each({"b64_json": str}, least=1)}}
"""An answer with pictures."""
RUN_WITHIN: Final = 300.0
"""Seconds of a run, on a CPU too."""
SIDE: Final = 256
"""Pixels; the least of those that OpenAI itself takes, and some servers no others."""
_OVER: Final = frozenset({"completed", "failed", "cancelled", "deleted", "expired"})
PICTURE: Final = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAIAAAAlC+aJAAAAYElEQVR4nO3PQQ0AIBDAMED5SUcEj4ZkVbDtmVk/OzrgVQNaA1oDWgNaA1oDWgNaA1oD"
    "WgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgNaA1oDWgPaBaIsAgBhHc02AAAAAElFTkSuQmCC"
)
"""64 x 64, grey."""


class OpenAi(Server):
    """A server that speaks the API."""

    ready_path = "/v1/models"

    def wish(self, **fields: Any) -> dict[str, Any]:
        """Returns a request for one small picture."""
        body = {"prompt": "a dog", "size": f"{SIDE}x{SIDE}", "n": 1, "num_inference_steps": 2}
        return {**body, "response_format": "b64_json", **fields}

    def busy(self, **fields: Any) -> dict[str, Any]:
        """Returns a request that takes a while."""
        side = self.notes.get("busy_side", 1024)
        return self.wish(size=f"{side}x{side}", num_inference_steps=int(30 * self.busy_seconds), **fields)

    async def generate(self, **fields: Any) -> Reply:
        """Asks for pictures."""
        return await self.send("POST", GENERATIONS, json=self.wish(**fields), timeout=RUN_WITHIN)

    async def edit(self, name: str = "image", count: int = 1, **fields: Any) -> Reply:
        """Asks for a changed picture."""
        return await self.send("POST", EDITS, data=_form(self.wish(**fields), name, count), timeout=RUN_WITHIN)

    def begin(self, **fields: Any) -> asyncio.Task[Reply]:
        """Begins a long run."""
        return asyncio.create_task(self.send("POST", GENERATIONS, json=self.busy(**fields), timeout=RUN_WITHIN))

    async def owner_of_the_model(self) -> str:
        """Returns what the server says of who made its model, which tells what it is."""
        models = (await self.get("/v1/models"))["data"]
        return str(models[0].get("owned_by", "")) if models else ""

    async def create_video(self, **fields: Any) -> dict[str, Any]:
        """Begins a video; as JSON, or where the server does not take that, as a form.

        Raises:
            NotApplicableError: the server makes none.
        """
        body = {"prompt": "a dog", "size": f"{SIDE}x{SIDE}", "seconds": "1", "num_inference_steps": 2, **fields}
        reply = await self.send("POST", VIDEOS, json=body)
        if reply.status in {404, 405}:
            raise NotApplicableError("the server makes no videos")
        if reply.status in {400, 415, 422}:
            form = aiohttp.FormData(default_to_multipart=True)
            for name, value in body.items():
                form.add_field(name, str(value))
            reply = await self.send("POST", VIDEOS, data=form)
        check("POST /v1/videos", {"status": 200, "body": {"id": str, "status": str}}, reply.shown())
        job: dict[str, Any] = reply.body
        return job

    async def video(self, identifier: str) -> Reply:
        """Asks how a video stands."""
        return await self.send("GET", f"{VIDEOS}/{identifier}")

    async def ended(self, identifier: str) -> dict[str, Any]:
        """Returns a video's job once it is over."""

        async def over() -> dict[str, Any] | None:
            reply = await self.video(identifier)
            check("GET /v1/videos/{id}", {"status": 200, "body": {"id": identifier, "status": str}}, reply.shown())
            return reply.body if reply.body["status"] in _OVER else None

        job = await eventually("the video is over", over, within=RUN_WITHIN)
        if job is None:
            raise DeviationError("the video is over", "a status", None)
        return job


def pictures(reply: Reply) -> list[bytes]:
    """Returns the pictures of an answer."""
    return [base64.b64decode(item["b64_json"]) for item in reply.body["data"]]


def _form(fields: dict[str, Any], name: str, count: int) -> aiohttp.FormData:
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for key, value in fields.items():
        form.add_field(key, str(value))
    for number in range(count):
        form.add_field(name, PICTURE, filename=f"{number}.png", content_type="image/png")
    return form

"""What cases do to an SD Web UI server."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from yarl import URL

from tests.conformance.case import check
from tests.conformance.server import Reply, Server, eventually

SMALL = {"prompt": "a dog", "width": 64, "height": 64, "steps": 2, "seed": 7}
"""A request that is quick on any machine."""

_MOST_STEPS = 3000


class SdWebUi(Server):
    """An SD Web UI server."""

    ready_path = "/sdapi/v1/options"

    async def call(self, route: str, document: Any, **options: Any) -> Reply:
        """Sends a POST to one of its routes."""
        return await self.send("POST", f"/sdapi/v1/{route}", json=document, timeout=180, **options)

    async def generate(self, route: str = "txt2img", **request: Any) -> dict[str, Any]:
        """Generates; returns the answer's body."""
        reply = await self.call(route, {**SMALL, **request})
        check(f"POST {route}", 200, reply.status)
        body: dict[str, Any] = reply.body
        return body

    async def begin(self, **request: Any) -> asyncio.Task[Reply]:
        """Begins a generation that takes some seconds, and returns once it runs."""
        if "steps" not in self.notes:
            self.notes["steps"] = await self._steps()
        task = asyncio.create_task(self.call("txt2img", {**SMALL, "steps": self.notes["steps"], **request}))

        async def sampling() -> bool:
            return float((await self.progress())["progress"]) > 0 or task.done()

        await eventually("the generation begins", sampling, within=60)
        check("it still runs", False, task.done())
        return task

    async def ask_and_leave(self, route: str, document: Any) -> None:
        """Sends a POST, and closes the connection once the server has read it."""
        url = URL(self.url)
        _, writer = await asyncio.open_connection(url.host, url.port, ssl=url.scheme == "https" or None)
        body = json.dumps(document).encode()
        lines = [f"POST /sdapi/v1/{route} HTTP/1.1", f"Host: {url.host}", "Content-Type: application/json"]
        if url.user is not None:
            secret = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
            lines.append(f"Authorization: Basic {secret}")
        writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body)
        await writer.drain()
        # A later request is answered: this one was read before.
        await self.progress()
        writer.close()
        await writer.wait_closed()

    async def progress(self) -> dict[str, Any]:
        """Returns `/progress`."""
        body: dict[str, Any] = await self.get("/sdapi/v1/progress?skip_current_image=true")
        return body

    async def _steps(self) -> int:
        """Returns how many steps take `busy_seconds`."""
        took = await self._seconds(40)
        if took < self.busy_seconds:
            # Of a fast server, what else the machine did counts for much: the better of two.
            took = min(took, await self._seconds(40))
        # What comes before the steps takes its time, too, so more of them are needed than this says.
        return max(60, min(_MOST_STEPS, int(3 * 40 * self.busy_seconds / max(took, 0.001))))

    async def _seconds(self, steps: int) -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await self.generate(steps=steps)
        return loop.time() - begun

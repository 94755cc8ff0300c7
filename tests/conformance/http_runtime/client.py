"""What cases do to a runtime of one's own."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from tests.conformance.case import DeviationError, NotApplicableError, check
from tests.conformance.server import Reply, Server, eventually
from tests.conformance.shapes import Each

ERROR = {"error": {"code": str, "message": str}}
"""The body of every refusal and failure."""


class HttpRuntime(Server):
    """A server that speaks the contract."""

    ready_path = "/health"

    @property
    def task(self) -> dict[str, Any]:
        """A task that takes about a second, and that this server can run."""
        found: dict[str, Any] = self.notes.get("task") or {
            "type": "text-to-image",
            "content": {"prompt": "a dog", "steps": 20},
        }
        return found

    def begin(self, name: str) -> asyncio.Task[Reply]:
        """Sends the task under an id; its reply comes when the run has ended."""
        return asyncio.create_task(self.send("POST", f"/runs/{name}", json=self.task, timeout=120))

    async def run(self, name: str) -> Reply:
        """Runs the task to its end."""
        return await self.begin(name)

    async def progress(self, name: str) -> Reply:
        """Asks how far a run is."""
        return await self.send("GET", f"/runs/{name}")

    async def cancel(self, name: str) -> Reply:
        """Stops a run."""
        return await self.send("DELETE", f"/runs/{name}")

    async def listed(self) -> list[str]:
        """Returns the ids of the runs that are here.

        Raises:
            NotApplicableError: this server does not list them.
        """
        reply = await self.send("GET", "/runs")
        if reply.status == 404:
            raise NotApplicableError("the server does not list its runs")
        check("GET /runs", {"status": 200, "body": {"runs": Each(str)}}, reply.shown())
        runs: list[str] = reply.body["runs"]
        return runs

    async def here(self, name: str) -> None:
        """Returns once a run is known."""

        async def known() -> bool:
            return (await self.progress(name)).status == 200

        await eventually("the run is known", known)

    async def gone(self, name: str) -> None:
        """Returns once a run is not known any more."""

        async def unknown() -> bool:
            return (await self.progress(name)).status == 404

        await eventually("the run is gone", unknown)

    async def moving(self, name: str) -> float:
        """Returns a run's progress once it has begun."""

        async def begun() -> float:
            reply = await self.progress(name)
            if reply.status != 200:
                raise DeviationError("the run ended before it told of its progress", 200, reply.shown())
            check("GET /runs/{id}", {"progress": float}, reply.body)
            return float(reply.body["progress"])

        await self.here(name)
        return await eventually("the run tells of its progress", begun)


def new_id() -> str:
    """Returns an id that no run has had."""
    return uuid.uuid4().hex

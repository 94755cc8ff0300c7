"""Sends one prompt to ComfyUI, and learns the id that it has there."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.runtimes.answers import Answers
from agent.runtimes.comfyui.failures import TITLE, failure_of, failure_of_nodes
from agent.runtimes.http import Reply, Server

CLIENT: Final = "darkroom-agent-"
"""How the names of all agents begin towards the server."""

SUBMIT_TIMEOUT: Final = 60.0
"""Seconds; nodes of others may look at files, or at the network, to validate."""

_ANSWERS: Final = Answers(TITLE, failure_of)


class Submission:
    """One `POST /prompt`, which a cancellation must not cut off: the server might take it unseen."""

    def __init__(self, server: Server, body: bytes, prompt_id: str, client_id: str, *, spoiled: bool) -> None:
        self._server = server
        self._body = body
        self._request: asyncio.Task[Reply] | None = None
        self.prompt_id = prompt_id
        """Ours, unless it is an old server, or the prompt goes on in another one."""
        self.client_id = client_id
        self.accepted = False
        self.spoiled = spoiled
        """Whether an interrupt that was meant for another prompt may hit this one."""

    @property
    def began(self) -> bool:
        """Whether the server may have heard of the prompt."""
        return self._request is not None

    async def send(self) -> None:
        """Submits, and learns the id that the server gave.

        Raises:
            TaskError: the server refuses the workflow, or a part of it.
        """
        self._request = asyncio.create_task(
            self._server.request("POST", "/prompt", body=self._body, timeout=SUBMIT_TIMEOUT)
        )
        document = await _ANSWERS.mapping(await asyncio.shield(self._request), "/prompt")
        if document.get("node_errors"):
            # Some outputs are valid and run already; half a result is no result.
            raise failure_of_nodes(document["node_errors"])
        self.accepted = True
        prompt_id = document.get("prompt_id")
        if isinstance(prompt_id, str):
            self.prompt_id = prompt_id

    async def settle(self) -> None:
        """Waits until the server has answered, whatever it answered."""
        if self._request is not None:
            await asyncio.wait({self._request})

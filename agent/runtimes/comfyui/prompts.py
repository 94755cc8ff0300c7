"""Asks ComfyUI by HTTP what has become of prompts: its queue and its history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from agent.documents import encode_json
from agent.errors import RuntimeUnavailableError, TransientError
from agent.runtimes.allowance import Allowance
from agent.runtimes.answers import Answers
from agent.runtimes.comfyui.events import Watch
from agent.runtimes.comfyui.failures import TITLE, failure_of
from agent.runtimes.comfyui.queue import Queued, prompts_of, read_queue
from agent.runtimes.http import TRANSFER_TIMEOUT, Server

PATIENCE: Final = (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""Pauses in seconds before each look at the history: it is written a moment after the last event."""

RECENT: Final = (10, 100, 1000)
"""How many of the last prompts of the history are looked through, until one that is known is among them."""

_ANSWERS: Final = Answers(TITLE, failure_of)


class Prompts:
    """The prompts of one server.

    Args:
        server: it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    async def queue(self) -> dict[str, Queued]:
        """Returns the prompts that run or wait, by their ids."""
        return read_queue(await _ANSWERS.mapping(await self._server.request("GET", "/queue"), "/queue"))

    async def ask(self, watch: Watch, *, lost: bool) -> None:
        """Asks by HTTP what became of the prompt; notes its end in `watch`.

        Args:
            watch: the prompt.
            lost: whether the socket broke, as it does when the server restarts.

        Raises:
            RuntimeUnavailableError: the server is dead, or is another one that knows nothing of the prompt.
            TransientError: somebody took the prompt out of the queue.
        """
        for pause in PATIENCE:
            await asyncio.sleep(pause)
            if (found := await self._entry(watch.prompt_id)) is not None:
                watch.read_history(found[1])
                return
            if watch.prompt_id in await self.queue():
                return
        if lost:
            raise RuntimeUnavailableError("runtime_restarted", f"{TITLE} was started again in the middle of the run")
        raise TransientError("prompt_deleted", f"somebody took the prompt out of the queue of {TITLE}")

    async def outputs(self, watch: Watch, allowance: Allowance) -> bytes:
        """Returns the prompt's history as received, and takes the outputs from it: a late socket missed some."""
        for pause in PATIENCE:
            await asyncio.sleep(pause)
            if (found := await self._entry(watch.prompt_id, allowance)) is not None:
                watch.read_history(found[1])
                return found[0]
        # Deleted by somebody, or the server was started again; the events have told the same.
        watch.forgotten = True
        return await encode_json({watch.prompt_id: {"outputs": watch.outputs}})

    async def successor(self, watches: Sequence[Watch], client_id: str) -> str:
        """Returns the id of the prompt in which the last one goes on; a node has queued it in our name.

        Raises:
            TransientError: there is none: somebody has emptied the queue.
        """
        followed = {watch.prompt_id for watch in watches}
        for pause in PATIENCE:
            await asyncio.sleep(pause)
            # The queue first: what leaves it meanwhile is in the history by then. And what has ended goes before what
            # runs: a batch may be several prompts further by now.
            queued = await self.queue()
            found = await self._ended_since(watches[-1].prompt_id, client_id)
            found += [name for name, item in queued.items() if item.client_id == client_id]
            for prompt_id in found:
                if prompt_id not in followed:
                    return prompt_id
        raise TransientError("prompt_deleted", f"a batch goes on in a prompt that is not in the queue of {TITLE}")

    async def _ended_since(self, prompt_id: str, client_id: str) -> list[str]:
        """Returns one client's prompts that have ended, oldest first, back to a prompt that is known to have ended."""
        for most in RECENT:
            reply = await self._server.request("GET", f"/history?max_items={most}", timeout=TRANSFER_TIMEOUT)
            history = await _ANSWERS.mapping(reply, "/history")
            if prompt_id in history or len(history) < most:
                break
        return prompts_of(history, client_id)

    async def _entry(self, prompt_id: str, allowance: Allowance | None = None) -> tuple[bytes, dict[str, Any]] | None:
        """Returns the prompt's history, raw and its entry; None as long as there is none, which is no error."""
        reply = await self._server.request(
            "GET", f"/history/{prompt_id}", timeout=TRANSFER_TIMEOUT, allowance=allowance
        )
        document = await _ANSWERS.mapping(reply, "/history")
        entry = document.get(prompt_id)
        return (reply.body, entry) if isinstance(entry, dict) else None

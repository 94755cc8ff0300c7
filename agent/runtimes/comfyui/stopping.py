"""Stops prompts on ComfyUI, and no other than those that it is asked to stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from urllib.parse import quote

import structlog

from agent.documents import encode_json
from agent.errors import TaskError
from agent.runtimes.comfyui.prompts import Prompts
from agent.runtimes.comfyui.submission import CLIENT, Submission
from agent.runtimes.http import Interrupts, Server

INTERRUPT_GRACE: Final = 10.0
"""Seconds that an interrupted prompt may still take: it stops between nodes and sampler steps only."""

INTERRUPT_INTERVAL: Final = 0.25

LEFT_INTERVAL: Final = 1.0
"""Seconds between two looks at a prompt that did not end when it was interrupted."""

_NO_SUCH_ROUTE: Final = frozenset({404, 405})

log = structlog.get_logger(__name__)


class Stopper:
    """What is at one server, and what has to leave it.

    Args:
        server: it.
        prompts: asks it for its queue.
    """

    def __init__(self, server: Server, prompts: Prompts) -> None:
        self._server = server
        self._prompts = prompts
        self.sent: set[Submission] = set()
        """What is at the server, as far as is known."""
        self.stopping: set[Submission] = set()
        self._left: set[Submission] = set()
        """What was given up and may be there still."""
        self._interrupts = Interrupts(server)
        self._cancels_jobs = True
        """Whether the server may have a route that cancels one prompt, and never another (ComfyUI 0.33)."""

    @property
    def left_running(self) -> bool:
        """See `Runtime`. An older server takes every interrupt for whatever runs when it takes it."""
        return bool(self._left) or (self._interrupts.pending and not self.stopping)

    def met_anew(self) -> None:
        """Forgets what is known of the server: it may be another one now."""
        self._cancels_jobs = True

    async def settle(self) -> None:
        """Asks for what was given up, and stops it again, until it is gone."""
        while self.left_running:
            try:
                if self._left:
                    left = next(iter(self._left))
                    await left.settle()
                    if await self._stop_once(left):
                        await asyncio.sleep(LEFT_INTERVAL)
                    else:
                        self._left.discard(left)
                else:
                    await self._interrupts.settle()
            except TaskError:
                await asyncio.sleep(LEFT_INTERVAL)
                await self._server.wait_until_ready()

    async def close(self) -> None:
        """Lets go of the interrupts under way."""
        await self._interrupts.close()

    async def stop(self, submission: Submission) -> None:
        """Stops a prompt, and waits until the server has let go of it, so that the next one does not meet it."""
        if not submission.began:
            return
        stopped = False
        self.stopping.add(submission)
        try:
            with suppress(TimeoutError, TaskError):
                async with asyncio.timeout(INTERRUPT_GRACE):
                    await submission.settle()
                    while await self._stop_once(submission):  # noqa: ASYNC110 - the server sends no event
                        await asyncio.sleep(INTERRUPT_INTERVAL)
                    stopped = True
        finally:
            self.stopping.discard(submission)
            if not stopped:
                self._left.add(submission)
                log.warning("the prompt could not be stopped", prompt_id=submission.prompt_id)

    async def end_orphans(self) -> None:
        """Stops the prompts that agents before this one have left when they died: nobody waits for their answers.

        Prompts of others are left alone.
        """
        with suppress(TimeoutError, TaskError):
            async with asyncio.timeout(INTERRUPT_GRACE):
                while orphans := [
                    prompt_id
                    for prompt_id, queued in (await self._prompts.queue()).items()
                    if queued.client_id.startswith(CLIENT)
                ]:
                    log.warning("stopping what another agent has left", prompts=len(orphans))
                    for prompt_id in orphans:
                        await self._take_out(prompt_id)
                    await asyncio.sleep(INTERRUPT_INTERVAL)

    async def _stop_once(self, submission: Submission) -> bool:
        """Stops a prompt and what its nodes have queued in its name; returns whether any of it was still there."""
        found = [
            prompt_id
            for prompt_id, queued in (await self._prompts.queue()).items()
            if prompt_id == submission.prompt_id or queued.client_id == submission.client_id
        ]
        for prompt_id in found:
            await self._take_out(prompt_id)
        return bool(found)

    async def _take_out(self, prompt_id: str) -> None:
        """Takes a prompt out of the queue, or interrupts it: by one request where the server has a route for it.

        Otherwise the queue is asked first, since the answers to both are 200 whatever happened, and since an older
        server takes every interrupt for the running prompt, whomever it belongs to.
        """
        if self._cancels_jobs and await self._cancel_job(prompt_id):
            return
        queued = (await self._prompts.queue()).get(prompt_id)
        if queued is None:
            return
        if queued.running:
            for other in self.sent:
                other.spoiled = other.spoiled or other.prompt_id != prompt_id
            await self._interrupts.send("/interrupt", await encode_json({"prompt_id": prompt_id}))
        else:
            await self._server.request("POST", "/queue", body=await encode_json({"delete": [prompt_id]}))

    async def _cancel_job(self, prompt_id: str) -> bool:
        """Cancels a prompt, whether it waits or runs; returns whether the server can do that.

        The server compares the id and interrupts in one step, so that a late answer cannot hit another prompt.
        """
        reply = await self._interrupts.send(f"/api/jobs/{quote(prompt_id, safe='')}/cancel", b"{}")
        if reply.status in _NO_SUCH_ROUTE:
            self._cancels_jobs = False
        return reply.ok

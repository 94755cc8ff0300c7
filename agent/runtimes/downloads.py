"""Fetches the files that a run has left on its server, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agent.errors import TaskError, TransientError, deciding_error
from agent.runtimes.base import Output
from agent.runtimes.http import TRANSFER_TIMEOUT, Server

PARALLEL: Final = 4


@dataclass(frozen=True)
class RemoteFile:
    """A file on the server, and the GET that hands it out."""

    name: str
    path: str
    """From the server's root, with its first slash."""
    params: Mapping[str, str] | None = None


async def download(server: Server, files: Sequence[RemoteFile]) -> list[Output] | None:
    """Returns the files, in order; None if one of them is not there any more (404).

    Raises:
        TransientError: the server does not hand one out.
        RuntimeUnavailableError: it went away.
    """
    places = asyncio.Semaphore(PARALLEL)

    async def fetch(file: RemoteFile) -> Output | None:
        async with places:
            reply = await server.request("GET", file.path, params=file.params, timeout=TRANSFER_TIMEOUT)
        if reply.status == 404:
            return None
        if not reply.ok or not reply.body:
            raise TransientError("garbage_answer", f"{server.title} does not hand out its output ({reply.status})")
        return Output(reply.body, file.name)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(file)) for file in files]
    except* TaskError as errors:
        raise deciding_error(errors) from None
    found = [output for task in tasks if (output := task.result()) is not None]
    return found if len(found) == len(files) else None

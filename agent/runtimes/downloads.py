"""Fetches the files that a run has left on its server, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from agent.errors import PASSING_STATUSES, PermanentError, TaskError, TransientError, deciding_error
from agent.runtimes.allowance import Allowance, check_outputs
from agent.runtimes.base import Output
from agent.runtimes.http import TRANSFER_TIMEOUT, Reply, Server

PARALLEL: Final = 4

PAUSES: Final = (0.2, 1.0)
"""Seconds before a file is asked for again that the server failed to hand out: cheaper than the whole run."""


_TOLD: Final = 20
"""Files that are not among the outputs, of which the record tells."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the server, and the GET that hands it out."""

    name: str
    path: str
    """From the server's root, with its first slash."""
    params: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Downloads:
    """What came of a run's files."""

    outputs: list[Output]
    """Those that the server handed out, in order; an empty file is one too."""
    refused: dict[str, int]
    """The others: name → HTTP status."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each file that is not among the outputs; of many, for the first ones."""
        told = [
            f"the output {name!r:.120} could not be fetched: the server answers {status}"
            for name, status in islice(self.refused.items(), _TOLD)
        ]
        more = len(self.refused) - len(told)
        return (*told, *([f"{more} more outputs could not be fetched"] if more else []))

    @property
    def may_come(self) -> bool:
        """Whether a file is missing by a trouble of the server's own, which may pass."""
        return any(_is_passing(status) for status in self.refused.values())


async def download(server: Server, files: Sequence[RemoteFile], allowance: Allowance) -> Downloads:
    """Returns the files, and which ones the server does not hand out.

    Args:
        server: where they are.
        files: which ones.
        allowance: of the answer that they are a part of.

    Raises:
        PermanentError: they are too many, or too large all together.
        TransientError: the server does not answer in time.
        RuntimeUnavailableError: it went away.
    """
    check_outputs(len(files), server.title)
    places = asyncio.Semaphore(PARALLEL)

    async def fetch(file: RemoteFile) -> Reply:
        async with places:
            for pause in (*PAUSES, None):
                reply = await server.request(
                    "GET", file.path, params=file.params, timeout=TRANSFER_TIMEOUT, allowance=allowance
                )
                if pause is None or not _is_passing(reply.status):
                    break
                await asyncio.sleep(pause)
        return reply

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(fetch(file)) for file in files]
    except* TaskError as errors:
        raise deciding_error(errors) from None
    replies = [(file.name, task.result()) for file, task in zip(files, tasks, strict=True)]
    return Downloads(
        [Output(reply.body, name) for name, reply in replies if reply.ok],
        {name: reply.status for name, reply in replies if not reply.ok},
    )


def nothing_fetched(found: Downloads, title: str) -> TaskError | None:
    """Returns why there is nothing of a run that named files; None when it named none.

    Only what may pass is worth another run: a file that the server refuses to hand out, it will refuse again.
    """
    if found.outputs or not found.refused:
        return None
    name, status = next(iter(found.refused.items()))
    more = f" and {len(found.refused) - 1} more" if len(found.refused) > 1 else ""
    kind = TransientError if found.may_come else PermanentError
    return kind("output_lost", f"{title} does not hand out its output {name!r:.120}{more} ({status})")


def _is_passing(status: int) -> bool:
    return status >= 500 or status in PASSING_STATUSES

"""Reads what prompts that have ended have made: files, pictures that came through the socket, and the history."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from agent.documents import encode_json, read_json
from agent.errors import PermanentError, TaskError, TransientError
from agent.runtimes.base import Answer, Output
from agent.runtimes.comfyui.events import Watch
from agent.runtimes.comfyui.failures import TITLE
from agent.runtimes.comfyui.files import has_output, output_files
from agent.runtimes.comfyui.prompts import Prompts
from agent.runtimes.comfyui.secrets import without_secrets
from agent.runtimes.downloads import Downloads, download, nothing_fetched
from agent.runtimes.http import Server


class NoFilesError(Exception):
    """A prompt has ended well, and there is nothing of it.

    Attributes:
        meaning: what this means for the task.
        may_come: whether it came from the cache, so that a run past it may give more.
    """

    def __init__(self, meaning: TaskError, *, may_come: bool) -> None:
        super().__init__(str(meaning))
        self.meaning = meaning
        self.may_come = may_come


class ArrivingFiles:
    """See `Arriving`: the prompt has ended, and its files are to be fetched."""

    def __init__(self, read: Callable[[], Awaitable[Answer]]) -> None:
        self._read = read

    async def read(self) -> Answer:
        """See `Arriving`."""
        try:
            return await self._read()
        except NoFilesError as error:
            raise error.meaning from error

    def drop(self) -> None:
        """See `Arriving`. Nothing is open."""


async def read_answer(server: Server, prompts: Prompts, watches: Sequence[Watch], extra_data: Any) -> Answer:
    """Returns what a prompt that has ended has made, or several that are one work.

    Raises:
        NoFilesError: nothing, or files that are not there any more.
    """
    async with server.allowances.one() as allowance:
        await allowance.take(sum(len(picture) for watch in watches for picture in watch.pictures))
        raws = [await prompts.outputs(watch, allowance) for watch in watches]
        files = dict.fromkeys(file for watch in watches for file in output_files(watch.outputs))
        found = await download(server, [file.remote for file in files], allowance)
    outputs = [*found.outputs, *(Output(data, "picture.png") for watch in watches for data in watch.pictures)]
    if not outputs and (found.refused or not any(has_output(watch.outputs) for watch in watches)):
        gone = not found.refused or 404 in found.refused.values()
        cached = any(watch.came_from_cache for watch in watches)
        raise NoFilesError(_why_nothing(watches, found), may_come=gone and cached)
    raw = raws[0] if len(raws) == 1 else await _merged(raws)
    return Answer(outputs, without_secrets(raw, extra_data), found.warnings)


def _why_nothing(watches: Sequence[Watch], found: Downloads) -> TaskError:
    if any(watch.forgotten for watch in watches):
        return TransientError("output_lost", f"{TITLE} has forgotten the run, and its outputs with it")
    if any(watch.missed_pictures for watch in watches):
        return TransientError("output_lost", f"the connection to {TITLE} broke while it sent pictures through it")
    return nothing_fetched(found, TITLE) or PermanentError(
        "no_outputs", "the workflow ended without an output; end it with a node that saves"
    )


async def _merged(raws: Sequence[bytes]) -> bytes:
    """Returns several answers of `/history` as one."""
    merged: dict[str, Any] = {}
    for raw in raws:
        merged |= read_json(raw)
    return await encode_json(merged)

"""Asks ComfyUI what the inputs of its nodes take, and remembers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from agent.runtimes.answers import Answers
from agent.runtimes.comfyui.failures import TITLE, failure_of
from agent.runtimes.comfyui.inputs import Takings, read_inputs
from agent.runtimes.http import Server

ASK_TIMEOUT: Final = 60.0
"""Seconds; nodes of others may look at files, or at the network, to tell what there is to choose from."""

MOST_INFO: Final = 16 * 1024 * 1024
"""Bytes of what the server tells of one class: a few hundred, and the names of all files or models to choose from."""

MOST_OF_ALL: Final = 32 * 1024 * 1024
"""Bytes of what it tells of all its classes: some 5 KB for each, prose included, and the names of all models for each
that loads one."""

_REMEMBERED: Final = 1000
"""Classes that are remembered."""

_ANSWERS: Final = Answers(TITLE, failure_of)


class Classes:
    """The classes of nodes of one server.

    Args:
        server: it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._told: dict[str, Takings] = {}

    def met_anew(self) -> None:
        """Forgets what was told: it may be another server now, with other nodes."""
        self._told.clear()

    async def ask_for(self, classes: set[str]) -> Mapping[str, Takings]:
        """Returns what the inputs of some classes take; of a class that the server lacks, nothing."""
        if classes - self._told.keys():
            await self._server.wait_until_ready()
        told = {name: self._told[name] for name in classes & self._told.keys()}
        if len(self._told) > _REMEMBERED:  # names that no server knows are remembered, too
            self._told.clear()
        for name in classes - told.keys():
            path = f"/object_info/{quote(name, safe='')}"
            reply = await self._server.request("GET", path, timeout=ASK_TIMEOUT, most=MOST_INFO)
            document = await _ANSWERS.mapping(reply, path)
            told[name] = self._told[name] = read_inputs(document.get(name))
        return told

    async def tell_all(self) -> dict[str, Any]:
        """Returns what the server tells of all its classes.

        Raises:
            TaskError: it does not tell, or too much.
        """
        path = "/object_info"
        reply = await self._server.request("GET", path, timeout=ASK_TIMEOUT, most=MOST_OF_ALL)
        return await _ANSWERS.mapping(reply, path)

"""Brings input files into ComfyUI's input folder, each once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import aiohttp

from agent.errors import TransientError
from agent.runtimes.answers import Answers
from agent.runtimes.base import Upload
from agent.runtimes.comfyui.failures import TITLE, failure_of
from agent.runtimes.http import TRANSFER_TIMEOUT, Server

_REMEMBERED: Final = 1000
"""Uploaded files that are remembered."""

_ANSWERS: Final = Answers(TITLE, failure_of)


class InputFolder:
    """The input folder of one server.

    Args:
        server: it.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._uploaded: OrderedDict[str, None] = OrderedDict()
        """Names of inputs that the server has, unless somebody has tidied up since."""

    def met_anew(self) -> None:
        """Forgets what the server has: it may be another one now, with an empty disk."""
        self._uploaded.clear()

    def forget(self, uploads: Iterable[Upload]) -> None:
        """Sends these again the next time."""
        for upload in uploads:
            self._uploaded.pop(upload.name, None)

    async def bring(self, uploads: Sequence[Upload]) -> int:
        """Uploads what the server is not known to have; returns how many that were."""
        missing = [upload for upload in uploads if upload.name not in self._uploaded]
        for upload in missing:
            await self._put(upload)
            self._uploaded[upload.name] = None
            if len(self._uploaded) > _REMEMBERED:
                self._uploaded.popitem(last=False)
        return len(missing)

    async def _put(self, upload: Upload) -> None:
        """Uploads a file, and leaves one alone that is there already: a run may be reading it.

        The name tells the content, so what has the name and other bytes is a piece of it, and is replaced.
        """
        if await self._store(upload, overwrite=False) == upload.name:
            return
        if await self._store(upload, overwrite=True) != upload.name:
            raise TransientError("garbage_answer", f"{TITLE} stored the input {upload.name} under another name")

    async def _store(self, upload: Upload, *, overwrite: bool) -> str:
        """Uploads a file; returns the name that the server gave it, with its folder.

        Without `overwrite` it compares the bytes first.
        """
        folder, _, name = upload.name.rpartition("/")
        form = aiohttp.FormData()
        form.add_field("image", upload.data, filename=name, content_type="application/octet-stream")
        form.add_field("type", "input")
        form.add_field("subfolder", folder)
        if overwrite:
            form.add_field("overwrite", "true")
        reply = await self._server.request("POST", "/upload/image", body=form, timeout=TRANSFER_TIMEOUT)
        stored = await _ANSWERS.mapping(reply, "/upload/image")
        return "/".join(filter(None, (folder, str(stored.get("name")))))

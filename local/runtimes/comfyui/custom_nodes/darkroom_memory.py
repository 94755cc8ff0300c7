"""Lets ComfyUI tell how much memory its process takes: `GET /darkroom/memory`.

Its own `/system_stats` is about the whole machine, and the agent beside it sees none of its processes. For an image of
your own, put this file into a folder of custom nodes.
"""

# ruff: noqa: INP001 - no part of the project: ComfyUI imports it
# mypy: ignore-errors
from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from server import PromptServer

NODE_CLASS_MAPPINGS: Final[dict[str, Any]] = {}
"""ComfyUI asks every module of custom nodes for it; there is none in this one."""


@PromptServer.instance.routes.get("/darkroom/memory")
async def memory(_request: web.Request) -> web.Response:
    """Answers `{"resident_bytes": n}`: the second field of `statm`, in pages (proc_pid_statm(5))."""
    return web.json_response({"resident_bytes": await asyncio.to_thread(_resident_bytes)})


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

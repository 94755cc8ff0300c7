"""What cases do to a ComfyUI server."""

from __future__ import annotations

import asyncio
import io
import random
import re
import struct
import uuid
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from tests.conformance.case import NotApplicableError, check
from tests.conformance.server import Events, Reply, Server, eventually
from tests.support.workflows import Workflow, diffusion

_BLUR_PIXELS: Final = 768
_FEWEST_BLURS: Final = 6
_MOST_BLURS: Final = 1000
_LAST_OLD: Final = (0, 3)
_FIRST_OF_TODAY: Final = (0, 33)


class ComfyUi(Server):
    """A ComfyUI server."""

    ready_path = "/system_stats"

    async def is_of_today(self) -> bool:
        """Tells whether it must do as a ComfyUI of today (0.33 and later), or as those up to 0.3.

        Raises:
            NotApplicableError: it is one between, or tells no version: what it does is not known.
        """
        if "version" not in self.notes:
            told = (await self.get("/system_stats"))["system"].get("comfyui_version")
            self.notes["version"] = told if isinstance(told, str) else ""
        told = self.notes["version"]
        match = re.match(r"v?(\d+)\.(\d+)", told)
        version = (int(match[1]), int(match[2])) if match else None
        if version is None or _LAST_OLD < version < _FIRST_OF_TODAY:
            raise NotApplicableError(f"versions from 0.4 to 0.32 differ in this, and this is {told or 'unknown'}")
        return version >= _FIRST_OF_TODAY

    async def only_today(self) -> None:
        """Returns if it is a ComfyUI of today.

        Raises:
            NotApplicableError: it is older.
        """
        if not await self.is_of_today():
            raise NotApplicableError("ComfyUI has this since 0.33")

    async def submit(self, prompt: Workflow, **options: Any) -> str:
        """Queues a prompt; returns its id."""
        answer = await self.post("/prompt", {"prompt": prompt, **options})
        return str(answer["prompt_id"])

    async def history(self, prompt_id: str) -> dict[str, Any]:
        """Returns `/history/{id}`."""
        document: dict[str, Any] = await self.get(f"/history/{prompt_id}")
        return document

    async def finished(self, prompt_id: str) -> dict[str, Any]:
        """Returns a prompt's history once it is written."""
        document = await eventually("the prompt ends", lambda: self.history(prompt_id), within=120)
        entry: dict[str, Any] = document[prompt_id]
        return entry

    async def run(self, prompt: Workflow, **options: Any) -> dict[str, Any]:
        """Runs a prompt to its end; returns its history."""
        return await self.finished(await self.submit(prompt, **options))

    async def queue(self) -> tuple[list[str], list[str]]:
        """Returns the ids that run, and those that wait, in the order in which they will run."""
        document = await self.get("/queue")
        waiting = sorted(document["queue_pending"], key=lambda item: float(item[0]))
        return [item[1] for item in document["queue_running"]], [item[1] for item in waiting]

    async def running(self, prompt_id: str) -> None:
        """Returns once a prompt runs."""

        async def runs() -> bool:
            return prompt_id in (await self.queue())[0]

        await eventually("the prompt begins", runs)

    async def idle(self) -> None:
        """Returns once nothing runs and nothing waits."""

        async def is_idle() -> bool:
            return await self.queue() == ([], [])

        await eventually("the queue is empty", is_idle, within=120)

    async def command(self, path: str, document: Any = None, **options: Any) -> Reply:
        """Sends one of the commands that answer 200 with nothing at all, and holds it to that."""
        reply = await self.send("POST", path, **(options or {"json": document}))
        got = {**reply.shown(), "content_type": reply.headers.get("Content-Type")}
        check(f"POST {path}", {"status": 200, "body": "", "content_type": None}, got)
        return reply

    @asynccontextmanager
    async def events(self, client_id: str) -> AsyncIterator[Events]:
        """Opens a WebSocket and takes its greeting."""
        async with self.socket(f"/ws?clientId={client_id}") as events:
            await events.until("status", sid=client_id)
            yield events

    async def upload(self, data: bytes, name: str, *, quote: bool = True, **fields: str) -> Reply:
        """Uploads a file."""
        form = aiohttp.FormData(quote_fields=quote)
        form.add_field("image", data, filename=name)
        for key, value in fields.items():
            form.add_field(key, value)
        return await self.send("POST", "/upload/image", data=form, timeout=120)

    async def checkpoint(self) -> str:
        """Returns the name of a checkpoint.

        Raises:
            NotApplicableError: there is none.
        """
        found = await self.get("/models/checkpoints")
        if not found:
            raise NotApplicableError("the server has no checkpoint")
        return str(found[0])

    async def sampling(self, text: str, **changes: Any) -> Workflow:
        """Returns a small diffusion workflow that no cache can answer, with a checkpoint of the server."""
        return diffusion(f"{text} {fresh()}", checkpoint=await self.checkpoint(), **changes)

    async def busy(self) -> Workflow:
        """Returns a workflow without a model that runs for about `busy_seconds`, and that no cache can answer."""
        if "blurs" not in self.notes:
            entry = await self.run(blurs(_FEWEST_BLURS))
            seconds = max(duration(entry), 0.001)
            wanted = int(_FEWEST_BLURS * self.busy_seconds / seconds) + 1
            self.notes["blurs"] = min(_MOST_BLURS, max(_FEWEST_BLURS, wanted))
        return blurs(self.notes["blurs"])


def fresh() -> str:
    """Returns a text that no other case has used, and that may be a prompt's id."""
    return str(uuid.uuid4())


def color() -> int:
    """Returns a colour that no other case has used, as good as surely."""
    return uuid.uuid4().int % 0xFFFFFF


def blurs(count: int) -> Workflow:
    """Returns a workflow whose nodes blur an image one after another: it can be interrupted between two of them."""
    workflow = Workflow().node("in", "EmptyImage", width=_BLUR_PIXELS, height=_BLUR_PIXELS, batch_size=1, color=color())
    last = "in"
    for number in range(count):
        workflow.node(f"b{number}", "ImageBlur", image=[last, 0], blur_radius=31, sigma=5.0)
        last = f"b{number}"
    return workflow.node("out", "SaveImage", images=[last, 0], filename_prefix=f"conformance/{fresh()}")


def duration(entry: dict[str, Any]) -> float:
    """Returns how many seconds a prompt ran, by its history."""
    begin, end = span(entry)
    return (end - begin) / 1000


def span(entry: dict[str, Any]) -> tuple[int, int]:
    """Returns when a prompt began and ended, in ms since the epoch, by its history."""
    times = [data["timestamp"] for _, data in entry["status"]["messages"]]
    return times[0], times[-1]


def png(shade: int = 128, size: int = 16, *, noise: bool = False) -> bytes:
    """Returns a grey picture, or one that is costly to encode."""
    grey = bytes([shade]) * 3 * size
    rows = b"".join(b"\0" + (random.randbytes(3 * size) if noise else grey) for _ in range(size))
    out = io.BytesIO(b"")

    def chunk(kind: bytes, data: bytes) -> None:
        out.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))

    out.write(b"\x89PNG\r\n\x1a\n")
    chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))
    chunk(b"IDAT", zlib.compress(rows))
    chunk(b"IEND", b"")
    return out.getvalue()


async def pause(seconds: float = 0.3) -> None:
    """Lets a little time pass in which something must not happen."""
    await asyncio.sleep(seconds)

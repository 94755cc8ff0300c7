"""The jobs of `/v1/videos`."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from fake_runtime.gpu import memory
from fake_runtime.gpu.device import JobInterruptedError
from fake_runtime.openai.drawing import FRAMES_PER_SECOND, Run, video
from fake_runtime.openai.flavours import ApiError


@dataclass(slots=True)
class Video:
    """One job."""

    run: Run
    id: str = field(default_factory=lambda: f"video_{uuid.uuid4().hex}")
    status: str = "queued"
    created: int = field(default_factory=lambda: int(time.time()))
    data: bytes = b""
    error: str = ""
    work: asyncio.Task[None] | None = None

    def describe(self) -> dict[str, Any]:
        """As the API tells of it."""
        wish = self.run.wish
        running = self.status == "queued" and self.run.progress > 0
        return {
            "id": self.id,
            "object": "video",
            "model": self.run.model,
            "status": "in_progress" if running else self.status,
            "progress": 100 if self.status == "completed" else int(100 * self.run.progress),
            "created_at": self.created,
            "size": f"{wish.width}x{wish.height}",
            "seconds": str(wish.seconds),
            "error": {"code": "generation_failed", "message": self.error} if self.error else None,
        }

    async def make(self) -> None:
        """Makes the video; what goes wrong is told by its status."""
        try:
            frames = await self.run.pictures(self.run.wish.seconds * FRAMES_PER_SECOND)
            self.data = await asyncio.to_thread(video, frames)
            self.status = "completed"
        except JobInterruptedError:
            self.status, self.error = "failed", "the request was aborted"
        except (ApiError, memory.OutOfMemoryError) as error:
            self.status, self.error = "failed", str(error)

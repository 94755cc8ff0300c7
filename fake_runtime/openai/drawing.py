"""Runs a wish on the GPU: its time, its memory, its pictures."""

import asyncio
import random

from PIL import Image

from fake_runtime import images, media
from fake_runtime.faults import FaultName, Struck
from fake_runtime.gpu import memory
from fake_runtime.gpu.device import Gpu, Job, JobInterruptedError
from fake_runtime.openai.flavours import ApiError
from fake_runtime.openai.wishes import Wish

FRAMES_PER_SECOND = 2


class Run:
    """One run: it waits for the GPU, and can be stopped before and while it has it."""

    def __init__(self, gpu: Gpu, kind: str, wish: Wish, struck: Struck, model: str) -> None:
        self.gpu = gpu
        self.kind = kind
        self.wish = wish
        self.struck = struck
        self.model = model
        self.progress = 0.0
        self._job: Job | None = None
        self._stopped = False

    def stop(self) -> None:
        """Stops it, as soon as it can be."""
        self._stopped = True
        if self._job is not None:
            self._job.interrupt()

    async def pictures(self, frames: int = 1) -> list[Image.Image]:
        """The pictures: as many as were asked for, of so many frames each.

        Raises:
            JobInterruptedError: it was stopped.
            memory.OutOfMemoryError: the GPU has too little memory.
            ApiError: a fault orders one.
        """
        async with self.gpu.turn():
            if self._stopped:
                raise JobInterruptedError
            with self.gpu.running(self.kind, self.wish.prompt, self.struck) as job:
                self._job = job
                made = await self._work(job, frames)
                job.record.images = len(made)
            if job.interrupted:
                raise JobInterruptedError
            return made

    async def _work(self, job: Job, frames: int) -> list[Image.Image]:
        wish, latency = self.wish, self.gpu.latency
        self.gpu.fail_if_ordered(self.struck)
        if (fault := self.struck.get(FaultName.ERROR)) is not None and fault.body == "json":
            raise ApiError(fault.status or 500, fault.message or "something went wrong", "InternalServerError")
        await self.gpu.load(self.model)
        self.gpu.allocate(memory.linear_bytes(wish.width, wish.height, wish.count))
        each = latency.step(wish.width, wish.height, wish.count) * frames
        whole = latency.task_seconds(wish.steps * each + latency.overhead())

        async def on_step(done: int) -> None:
            self.progress = done / wish.steps

        if not await job.steps(wish.steps, whole / wish.steps, on_step):
            return []
        return await asyncio.to_thread(self._draw, frames)

    def _draw(self, frames: int) -> list[Image.Image]:
        wish = self.wish
        seed = random.randrange(2**32) if wish.seed is None else wish.seed  # noqa: S311 - a picture's
        made = []
        for index in range(wish.count * frames):
            recipe = f"{wish.prompt}|{wish.negative_prompt}|{seed + index}|{wish.steps}|{self.model}"
            image = images.render(wish.width, wish.height, recipe, wish.prompt)
            if wish.sources:
                source = images.rgb(wish.sources[0]).resize(image.size, Image.Resampling.BILINEAR)
                image = Image.blend(source, image, 0.5)
            made.append(image)
        return made


def video(frames: list[Image.Image]) -> bytes:
    """A video of some frames."""
    return media.mp4([images.encode_jpeg(frame) for frame in frames], FRAMES_PER_SECOND)

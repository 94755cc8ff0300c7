"""The scenarios: what the queue holds, how long the GPU takes, how slow AWS and the inputs are."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from PIL import Image

from contract.task import RuntimeType, TaskType

SECONDS: Final = 0.5
"""How long the GPU takes for a task, where it takes any time."""

INPUT_SECONDS: Final = 0.2
"""How long the host of an input image takes to answer."""

AWS_DELAY: Final = 0.03
"""Seconds added to each call to AWS: somewhat more than a region's own S3 takes."""

BATCH: Final = 8
_NOISE_SIDE: Final = 180
_LARGE_SIDE: Final = 1000
"""Noise of 180 pixels square, enlarged to this many, is a PNG of 2 MB."""

Content = Callable[[str, str], dict[str, Any]]
"""From a task's id and the address of its input, what the task asks of its runtime."""


@dataclass(frozen=True)
class Scenario:
    """One load, and what an agent ought to make of it."""

    key: str
    title: str
    content: Content
    tasks: int
    quick_tasks: int
    task_type: TaskType = TaskType.TEXT_TO_IMAGE
    runtime: RuntimeType = RuntimeType.SDWEBUI
    seconds_per_task: float = SECONDS
    aws_delay: float = 0.0
    has_inputs: bool = False
    video_memory: int = 24
    """GiB of the runtime."""
    backlog: int = 0
    """Messages in the queue, when they are more than the tasks that are awaited."""
    goals: tuple[Goal, ...] = ()

    @property
    def messages(self) -> int:
        """How many messages the queue holds at first."""
        return max(self.tasks, self.backlog)

    def quick(self) -> Scenario:
        """Returns the same, cut to seconds."""
        return replace(self, tasks=self.quick_tasks, backlog=min(self.backlog, 10 * self.quick_tasks))

    def with_tasks(self, tasks: int) -> Scenario:
        """Returns the same with another number of tasks."""
        return replace(self, tasks=tasks)


@dataclass(frozen=True)
class Goal:
    """A bound on one figure."""

    figure: str
    bound: float
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Tells whether a value keeps the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def small_image(task_id: str, _: str) -> dict[str, Any]:
    """Text to image, 64 pixels square: next to nothing to draw or to send."""
    return {"prompt": task_id, "steps": 4, "width": 64, "height": 64, "seed": 1}


def usual_image(task_id: str, _: str) -> dict[str, Any]:
    """Text to image, 512 pixels square."""
    return {"prompt": task_id, "steps": 10, "width": 512, "height": 512, "seed": 1}


def from_image(task_id: str, link: str) -> dict[str, Any]:
    """Image to image from a link."""
    return {**usual_image(task_id, link), "init_images": [link], "denoising_strength": 0.6}


def large_batch(task_id: str, _: str) -> dict[str, Any]:
    """Eight images of 2 MB: noise, since it cannot be compressed, enlarged from a small picture in the request."""
    return {
        **usual_image(task_id, ""),
        "width": _LARGE_SIDE,
        "height": _LARGE_SIDE,
        "batch_size": BATCH,
        "init_images": [_noise()],
        "denoising_strength": 0.0,
    }


def workflow(task_id: str, _: str) -> dict[str, Any]:
    """ComfyUI's own example: text to image, 512 pixels square."""
    return _workflow(task_id, {"5": _node("EmptyLatentImage", batch_size=1, height=512, width=512)})


def workflow_from_image(task_id: str, link: str) -> dict[str, Any]:
    """The same from an image that the workflow names by a link."""
    return _workflow(
        task_id,
        {
            "5": _node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
            "10": _node("LoadImage", image=link),
        },
    )


def _workflow(task_id: str, latent: dict[str, Any]) -> dict[str, Any]:
    seed = random.Random(task_id).randrange(2**32)  # ComfyUI would take an equal workflow from its cache
    return {
        "3": _node(
            "KSampler",
            cfg=8,
            denoise=1,
            latent_image=["5", 0],
            model=["4", 0],
            negative=["7", 0],
            positive=["6", 0],
            sampler_name="euler",
            scheduler="normal",
            seed=seed,
            steps=10,
        ),
        "4": _node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly.safetensors"),
        "6": _node("CLIPTextEncode", clip=["4", 1], text=task_id),
        "7": _node("CLIPTextEncode", clip=["4", 1], text="bad hands"),
        "8": _node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": _node("SaveImage", filename_prefix=task_id, images=["8", 0]),
        **latent,
    }


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


@cache
def _noise() -> str:
    return base64.b64encode(noise_png(_NOISE_SIDE, seed=0)).decode()


def noise_png(side: int, *, seed: int) -> bytes:
    """Returns a square PNG of noise: some three bytes a pixel."""
    pixels = random.Random(seed).randbytes(side * side * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (side, side), pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


_B: Final = Scenario(
    key="b",
    title="0.5 s a task",
    content=usual_image,
    tasks=60,
    quick_tasks=5,
    goals=(Goal("idle", 0.01),),
)
_C: Final = Scenario(
    key="c",
    title="0.5 s image-to-image, inputs take 200 ms",
    content=from_image,
    task_type=TaskType.IMAGE_TO_IMAGE,
    tasks=60,
    quick_tasks=5,
    has_inputs=True,
    goals=(Goal("idle", 0.01),),
)

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.key: scenario
    for scenario in (
        Scenario(
            key="a",
            title="latency 0",
            content=small_image,
            tasks=500,
            quick_tasks=40,
            seconds_per_task=0.0,
            goals=(Goal("rate", 45, at_least=True), Goal("cpu", 0.012), Goal("rss", 90e6)),
        ),
        _B,
        _C,
        replace(
            _B,
            key="d",
            title="as b, AWS 30 ms farther",
            aws_delay=AWS_DELAY,
            goals=(Goal("idle", 0.015),),
        ),
        Scenario(
            key="e",
            title="as b, 8 images of 2 MB each",
            content=large_batch,
            task_type=TaskType.IMAGE_TO_IMAGE,
            tasks=30,  # with the answers, 37 MB a task: 60 would be 2.2 GB on this machine's disk
            quick_tasks=2,
            video_memory=80,
            goals=(Goal("idle", 0.03),),
        ),
        Scenario(
            key="f",
            title="latency 0, 20,000 messages wait",
            content=small_image,
            tasks=2000,
            quick_tasks=60,
            seconds_per_task=0.0,
            backlog=20_000,
            goals=(Goal("slowdown", 0.1), Goal("growth", 5e6)),
        ),
        replace(
            _B, key="gb", title="ComfyUI: as b", content=workflow, runtime=RuntimeType.COMFYUI,
            task_type=TaskType.PIPELINE,
        ),
        replace(
            _C, key="gc", title="ComfyUI: as c", content=workflow_from_image, runtime=RuntimeType.COMFYUI,
            task_type=TaskType.PIPELINE,
        ),
    )
}  # fmt: skip

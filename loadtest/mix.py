"""What the tasks of a load ask for: a mix of task types and runtimes by weight, and the request bodies."""

from __future__ import annotations

import base64
import random
import struct
import zlib
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from contract.config import Config
from contract.identifiers import RuntimeName
from contract.task import RuntimeType, TaskType
from loadtest.errors import LoadtestError

_PROMPTS: Final = ("A dog on a bench in the rain", "A lighthouse at dusk", "An astronaut on a horse", "A bowl of fruit")
_INLINE_SIDE: Final = 64
"""Pixels of the picture that travels inside a request."""


class Api(StrEnum):
    """The route that a task is sent to."""

    V1ALPHA2 = "v1alpha2"
    V1 = "v1"


class Input(StrEnum):
    """How an input picture reaches the task."""

    LINK = "link"
    INLINE = "inline"


class Work(BaseModel):
    """One part of a mix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runtime: RuntimeName
    tasktype: TaskType
    weight: Annotated[float, Field(gt=0)] = 1.0
    api: Api = Api.V1ALPHA2
    input: Annotated[Input, Field(description="of an image-to-image or an extra task")] = Input.INLINE
    steps: Annotated[int, Field(ge=1, le=150)] = 16
    width: Annotated[int, Field(ge=64, le=2048)] = 512
    height: Annotated[int, Field(ge=64, le=2048)] = 512
    images: Annotated[int, Field(ge=1, le=16, description="images that one task makes")] = 1

    @property
    def label(self) -> str:
        """What reports call it."""
        return f"{self.runtime} {self.tasktype}"

    @property
    def path(self) -> str:
        """The route of the API."""
        return "/v1alpha2" if self.api is Api.V1ALPHA2 else "/v1/tasks"

    @property
    def needs_picture(self) -> bool:
        """Whether it starts from a picture."""
        return self.tasktype not in {TaskType.TEXT_TO_IMAGE, TaskType.PIPELINE}


class MixError(LoadtestError):
    """A mix that the deployment cannot serve; one line."""


def default_mix(config: Config) -> tuple[Work, ...]:
    """Returns a mix for every runtime of a deployment: mostly text to image, some image to image, and workflows."""
    found: list[Work] = []
    for runtime in config.runtimes:
        if runtime.type is RuntimeType.SDWEBUI:
            found.append(Work(runtime=runtime.name, tasktype=TaskType.TEXT_TO_IMAGE, weight=4))
            found.append(Work(runtime=runtime.name, tasktype=TaskType.TEXT_TO_IMAGE, weight=1, api=Api.V1))
            found.append(Work(runtime=runtime.name, tasktype=TaskType.IMAGE_TO_IMAGE, weight=1))
        elif runtime.type is RuntimeType.COMFYUI:
            found.append(Work(runtime=runtime.name, tasktype=TaskType.PIPELINE, weight=4))
    if not found:
        raise MixError("no runtime of the config takes the usual tasks: name the `mix` in the scenario")
    return tuple(found)


def check_mix(mix: Sequence[Work], config: Config, sample_image: str) -> None:
    """Checks that a deployment can serve a mix.

    Args:
        mix: what is to be sent.
        config: of the deployment.
        sample_image: the address of a picture that the agents may fetch; empty when there is none.

    Raises:
        MixError: a runtime is not there, or a link has nothing to point to.
    """
    names = [runtime.name for runtime in config.runtimes]
    for number, work in enumerate(mix):
        if work.runtime not in names:
            raise MixError(f"mix.{number}.runtime: {work.runtime!r} is not deployed; there are {', '.join(names)}")
        if work.needs_picture and work.input is Input.LINK and not sample_image:
            raise MixError(f"mix.{number}.input: links need --sample-image, a picture that the agents may fetch")


def choose(mix: Sequence[Work], chance: random.Random, *, runtime: str = "", tasktype: str = "") -> Work:
    """Returns a part of the mix by weight; of one runtime and task type, where a replay says so.

    Raises:
        MixError: the mix has no such part.
    """
    fitting = [
        work for work in mix if (not runtime or work.runtime == runtime) and (not tasktype or work.tasktype == tasktype)
    ]
    if not fitting:
        raise MixError(
            f"the mix holds no {tasktype or 'task'} for {runtime or 'any runtime'}, which the replay names; "
            f"it holds {', '.join(sorted({work.label for work in mix}))}"
        )
    return chance.choices(fitting, [work.weight for work in fitting])[0]


def body(work: Work, task_id: str, *, number: int, sample_image: str) -> dict[str, Any]:
    """Returns the JSON body of a request.

    Args:
        work: what is asked.
        task_id: of the new task.
        number: of the arrival; prompts and seeds follow from it, so that no two tasks are the same.
        sample_image: the address of a picture, for links.
    """
    picture = ""
    if work.needs_picture:
        picture = sample_image if work.input is Input.LINK else inline_picture()
    return {
        "task": {
            "metadata": {
                "id": task_id,
                "runtime": work.runtime,
                "tasktype": work.tasktype,
                "prefix": "loadtest",
                "context": {"arrival": number},
            },
            "content": _content(work, number, picture),
        }
    }


def _content(work: Work, number: int, picture: str) -> dict[str, Any]:
    prompt = f"{_PROMPTS[number % len(_PROMPTS)]}, number {number}"
    generation = {
        "prompt": prompt,
        "steps": work.steps,
        "width": work.width,
        "height": work.height,
        "batch_size": work.images,
        "seed": number,
    }
    match work.tasktype:
        case TaskType.TEXT_TO_IMAGE:
            return {"alwayson_scripts": {}, **generation}
        case TaskType.IMAGE_TO_IMAGE:
            return {"alwayson_scripts": {}, "init_images": [picture], "denoising_strength": 0.6, **generation}
        case TaskType.EXTRA_SINGLE_IMAGE:
            return {"image": picture, "upscaling_resize": 2, "upscaler_1": "Lanczos"}
        case TaskType.EXTRA_BATCH_IMAGES:
            pictures = [{"data": picture, "name": f"{index}.png"} for index in range(work.images)]
            return {"imageList": pictures, "upscaling_resize": 2, "upscaler_1": "Lanczos"}
        case TaskType.PIPELINE:
            return _workflow(work, prompt, number)


def _workflow(work: Work, prompt: str, number: int) -> dict[str, Any]:
    """Returns ComfyUI's own text-to-image workflow in its API format."""
    checkpoint = "v1-5-pruned-emaonly.safetensors"
    sampler = {"seed": number, "steps": work.steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal"}
    links = {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0]}
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "1": ("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        "2": ("CLIPTextEncode", {"clip": ["1", 1], "text": prompt}),
        "3": ("CLIPTextEncode", {"clip": ["1", 1], "text": "blurry"}),
        "4": ("EmptyLatentImage", {"width": work.width, "height": work.height, "batch_size": work.images}),
        "5": ("KSampler", {**sampler, **links, "denoise": 1.0}),
        "6": ("VAEDecode", {"samples": ["5", 0], "vae": ["1", 2]}),
        "7": ("SaveImage", {"images": ["6", 0], "filename_prefix": "loadtest"}),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


@cache
def inline_picture() -> str:
    """Returns a small picture (a grey gradient, PNG) as base64."""
    row = bytes([0]) + bytes(int(255 * x / _INLINE_SIDE) for x in range(_INLINE_SIDE))
    header = struct.pack(">IIBBBBB", _INLINE_SIDE, _INLINE_SIDE, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(row * _INLINE_SIDE)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()

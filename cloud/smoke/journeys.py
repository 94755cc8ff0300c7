"""Chooses the reference's requests for each runtime of a deployment, and fits them to it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REQUESTS: Final = Path(__file__).with_name("requests")
"""The requests of the reference's documentation; a test holds them to the copies that the other tests send."""

SAMPLE_IMAGE: Final = "https://huggingface.co/datasets/huggingface/documentation-images/resolve/main/diffusers/cat.png"
"""The picture to which the reference's requests link."""

_OF_TYPE: Final[Mapping[str, tuple[str, ...]]] = {
    "sdwebui": ("v1alpha2-text-to-image", "v1alpha2-image-to-image", "v1alpha2-extra-single-image"),
    "comfyui": ("v1alpha2-pipeline",),
    # Not in the reference: a server of one's own makes images of texts if anything.
    "http": ("v1alpha2-text-to-image",),
    "openai": ("v1alpha2-text-to-image", "v1alpha2-image-to-image"),
}
"""What the reference's verification sends to each type of runtime (003, "Deployment Verification")."""

_BY_CHECKPOINT: Final = "v1alpha1-text-to-image"


@dataclass(frozen=True)
class Runtime:
    """One runtime as `GET /v1/runtimes` tells of it."""

    name: str
    type: str
    model: str | None
    """The checkpoint by which v1alpha1 reaches it; None for dynamic and ComfyUI runtimes."""


@dataclass(frozen=True)
class Journey:
    """One request, ready to be sent."""

    title: str
    route: str
    body: dict[str, Any]
    task_id: str


def runtimes_of(document: Iterable[Mapping[str, Any]]) -> list[Runtime]:
    """Returns the runtimes that the API lists."""
    return [
        Runtime(item["name"], item["type"], None if item.get("dynamic_model") else item.get("model"))
        for item in document
    ]


def plan_journeys(runtimes: Iterable[Runtime], *, run: str, input_image: str = SAMPLE_IMAGE) -> list[Journey]:
    """Returns the requests that verify these runtimes, in their order.

    Args:
        runtimes: to be verified; a type that is not known here gets no request.
        run: put at the end of each task's id, so that no two runs share one.
        input_image: a link, or base64, in place of the picture that the requests link to.
    """
    journeys = []
    for runtime in runtimes:
        names = list(_OF_TYPE.get(runtime.type, ()))
        if runtime.type == "sdwebui" and runtime.model:
            names.append(_BY_CHECKPOINT)
        journeys += [_journey(name, runtime, run, input_image) for name in names]
    return journeys


def _journey(name: str, runtime: Runtime, run: str, input_image: str) -> Journey:
    text = (REQUESTS / f"{name}.json").read_text(encoding="utf-8")
    body = json.loads(text.replace(json.dumps(SAMPLE_IMAGE), json.dumps(input_image)))
    api, _, kind = name.partition("-")
    task_id = f"smoke-{runtime.name}-{kind}-{api}-{run}"
    if api == "v1alpha1":
        body["alwayson_scripts"] |= {"id_task": task_id, "sd_model_checkpoint": runtime.model}
    else:
        body["task"]["metadata"] |= {"id": task_id, "runtime": runtime.name}
    return Journey(f"{runtime.name}: {kind} ({api})", f"/{api}", body, task_id)

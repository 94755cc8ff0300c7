"""What a request comes to: seeds, sizes, pictures, infotexts and the ``info`` object, as pure functions."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image

from fake_runtime import images
from fake_runtime.sdwebui.catalog import Checkpoint

VERSION = "1.10.1"


@dataclass(frozen=True, slots=True)
class Plan:
    """A request with its choices made.

    Attributes:
        sampler: its name.
        scheduler: the label of the scheduler that runs.
        width: pixels of the results.
        height: pixels of the results.
        base_width: pixels of the first pass, smaller with ``enable_hr``.
        base_height: pixels of the first pass.
        seeds: one per image, in order.
        subseeds: one per image, in order.
        steps: of each batch, the second pass included.
    """

    values: Mapping[str, Any]
    sampler: str
    scheduler: str
    checkpoint: Checkpoint
    width: int
    height: int
    base_width: int
    base_height: int
    batch_size: int
    batches: int
    steps: int
    second_pass_steps: int
    seeds: list[int]
    subseeds: list[int]
    clip_skip: int


def _eighths(pixels: int) -> int:
    """Sizes are cut to whole latents of 8 pixels."""
    return max(8, pixels - pixels % 8)


def _seed(value: object) -> int:
    return int(value) if isinstance(value, int) and value != -1 else random.randrange(4294967294)  # noqa: S311


def plan(
    values: Mapping[str, Any],
    sampler: str,
    scheduler: str,
    checkpoint: Checkpoint,
    *,
    from_images: bool,
    clip_skip: int,
) -> Plan:
    """Settles sizes and seeds of a request in which `failures` finds nothing.

    A seed of -1 becomes a random one, and the only thing here that is not pure.
    """
    base_width, base_height = _eighths(values["width"]), _eighths(values["height"])
    width, height, second = base_width, base_height, 0
    steps = values["steps"]
    if from_images:
        # img2img runs the last part of the schedule only.
        strength = min(max(values["denoising_strength"], 0.0), 1.0)
        steps = max(1, min(int(steps * strength) + 1, steps))
    elif values.get("enable_hr"):
        width = _eighths(values["hr_resize_x"] or int(base_width * values["hr_scale"]))
        height = _eighths(values["hr_resize_y"] or int(base_height * values["hr_scale"]))
        strength = min(max(values["denoising_strength"], 0.0), 1.0)
        second = max(1, int((values["hr_second_pass_steps"] or steps) * strength))
    batch_size, batches = values["batch_size"], values["n_iter"]
    seed, subseed = _seed(values["seed"]), _seed(values["subseed"])
    number = batch_size * batches
    # With a subseed strength the variations share one seed.
    step = 0 if values["subseed_strength"] else 1
    return Plan(
        values=values,
        sampler=sampler,
        scheduler=scheduler,
        checkpoint=checkpoint,
        width=width,
        height=height,
        base_width=base_width,
        base_height=base_height,
        batch_size=batch_size,
        batches=batches,
        steps=steps,
        second_pass_steps=second,
        seeds=[seed + step * index for index in range(number)],
        subseeds=[subseed + index for index in range(number)],
        clip_skip=clip_skip,
    )


def infotext(planned: Plan, index: int) -> str:
    """The ``parameters`` text of one image, as SD Web UI writes and reads it."""
    values = planned.values
    lines = [values["prompt"] or ""]
    if values["negative_prompt"]:
        lines.append(f"Negative prompt: {values['negative_prompt']}")
    fields: dict[str, object] = {
        "Steps": values["steps"],
        "Sampler": planned.sampler,
        "Schedule type": planned.scheduler,
        "CFG scale": values["cfg_scale"],
        "Seed": planned.seeds[index],
        "Size": f"{values['width']}x{values['height']}",
        "Model hash": planned.checkpoint.hash,
        "Model": planned.checkpoint.model_name,
    }
    if values["subseed_strength"]:
        fields |= {"Variation seed": planned.subseeds[index], "Variation seed strength": values["subseed_strength"]}
    fields |= {key: value for key, value in _further(planned).items() if value is not None}
    if planned.clip_skip > 1:
        fields["Clip skip"] = planned.clip_skip
    fields["Version"] = VERSION
    lines.append(", ".join(f"{key}: {value}" for key, value in fields.items()))
    return "\n".join(lines)


def _further(planned: Plan) -> dict[str, object]:
    """The ``extra_generation_params``; what is None there, the infotext leaves out."""
    values = planned.values
    further: dict[str, object] = {} if planned.scheduler == "Automatic" else {"Schedule type": planned.scheduler}
    if "init_images" in values or planned.second_pass_steps:
        further["Denoising strength"] = values["denoising_strength"]
    if planned.second_pass_steps:
        further |= {"Hires prompt": None, "Hires negative prompt": None, "Hires schedule type": None}
        if values["hr_resize_x"] or values["hr_resize_y"]:
            further["Hires resize"] = f"{values['hr_resize_x']}x{values['hr_resize_y']}"
        else:
            further["Hires upscale"] = values["hr_scale"]
        if values["hr_upscaler"] is not None:
            further["Hires upscaler"] = values["hr_upscaler"]
    return further


def draw(planned: Plan, index: int, source: Image.Image | None = None) -> Image.Image:
    """Draws one image, which carries its ``parameters``; a source shows through as the denoising strength allows."""
    text = infotext(planned, index)
    recipe = f"{text}|{planned.subseeds[index] if planned.values['subseed_strength'] else ''}"
    image = images.render(planned.width, planned.height, recipe, planned.values["prompt"] or "")
    if source is not None:
        strength = min(max(planned.values["denoising_strength"], 0.0), 1.0)
        resized = images.rgb(source).resize(image.size, Image.Resampling.BILINEAR)
        image = Image.blend(resized, image, 0.2 + 0.8 * strength)
    image.info["parameters"] = text
    return image


def compress(image: Image.Image) -> bytes:
    """An image as PNG with its ``parameters``."""
    text = image.info.get("parameters")
    return images.encode_png(image, None if text is None else {"parameters": str(text)})


def encode(image: Image.Image) -> str:
    """An image as PNG with its ``parameters``, in base64."""
    return images.to_base64(compress(image))


def info(planned: Plan, made: int, job_timestamp: str) -> str:
    """The ``info`` of a response: JSON in a string."""
    values = planned.values
    total = len(planned.seeds)
    return json.dumps(
        {
            "prompt": values["prompt"],
            "all_prompts": [values["prompt"]] * total,
            "negative_prompt": values["negative_prompt"],
            "all_negative_prompts": [values["negative_prompt"]] * total,
            "seed": planned.seeds[0],
            "all_seeds": planned.seeds,
            "subseed": planned.subseeds[0],
            "all_subseeds": planned.subseeds,
            "subseed_strength": values["subseed_strength"],
            "width": values["width"],
            "height": values["height"],
            "sampler_name": planned.sampler,
            "cfg_scale": values["cfg_scale"],
            "steps": values["steps"],
            "batch_size": planned.batch_size,
            "restore_faces": bool(values["restore_faces"]),
            "face_restoration_model": "CodeFormer" if values["restore_faces"] else None,
            "sd_model_name": planned.checkpoint.model_name,
            "sd_model_hash": planned.checkpoint.hash,
            "sd_vae_name": None,
            "sd_vae_hash": None,
            "seed_resize_from_w": values["seed_resize_from_w"],
            "seed_resize_from_h": values["seed_resize_from_h"],
            "denoising_strength": values["denoising_strength"],
            "extra_generation_params": _further(planned),
            "index_of_first_image": 0,
            "infotexts": [infotext(planned, index) for index in range(made)],
            "styles": values["styles"] or [],
            "job_timestamp": job_timestamp,
            "clip_skip": planned.clip_skip,
            "is_using_inpainting_conditioning": False,
            "version": VERSION,
        },
        ensure_ascii=False,
    )


def upscaled_size(values: Mapping[str, Any], width: int, height: int) -> tuple[int, int]:
    """Pixels of an upscaled image: a factor in resize mode 0, at least a box in mode 1, cut to it if so wanted.

    What an upscaler makes is cut to whole latents of 8 pixels (upstream modules/upscaler.py).
    """
    if values["upscaler_1"] == "None":
        return width, height
    box_width, box_height = int(values["upscaling_resize_w"]), int(values["upscaling_resize_h"])
    if values["resize_mode"] == 0:
        factor = values["upscaling_resize"]
    elif values["upscaling_crop"]:
        return box_width, box_height
    else:
        factor = max(box_width / width, box_height / height)
    return int(width * factor // 8 * 8), int(height * factor // 8 * 8)


def upscale_info(values: Mapping[str, Any]) -> str:
    """The ``html_info`` of a response."""
    steps: dict[str, object] = {}
    if values["upscaler_1"] != "None":
        box = f"{values['upscaling_resize_w']}x{values['upscaling_resize_h']}"
        if values["resize_mode"] == 0:
            steps["Postprocess upscale by"] = values["upscaling_resize"]
        else:
            steps |= {"Postprocess upscale to": box} | (
                {"Postprocess crop to": box} if values["upscaling_crop"] else {}
            )
        steps["Postprocess upscaler"] = values["upscaler_1"]
    return f"<p>{', '.join(f'{key}: {value}' for key, value in steps.items())}</p>"


def upscale(source: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Enlarges an image, which keeps its ``parameters``; nearest neighbour, since that also encodes cheaply."""
    enlarged = images.rgb(source).resize(size, Image.Resampling.NEAREST)
    enlarged.info = {"parameters": source.info["parameters"]} if "parameters" in source.info else {}
    return enlarged

"""Nodes that make latents of noise, and pictures of latents."""

import hashlib
from dataclasses import replace

from PIL import Image

from fake_runtime import images
from fake_runtime.comfyui.node_types import Context, Latent, Pictures, Result, Values
from fake_runtime.comfyui.pictures import target_size
from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.work import Work


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]


def sample(_context: Context, values: Values) -> Result:
    """KSampler and KSamplerAdvanced: a latent whose recipe is all that went into it."""
    latent: Latent = values["latent_image"]
    seed = values.get("seed", values.get("noise_seed", 0))
    recipe = "|".join(
        str(part)
        for part in (
            values["model"].name,
            values["positive"].text,
            values["negative"].text,
            seed,
            values["steps"],
            values["cfg"],
            values["sampler_name"],
            values["scheduler"],
            values.get("denoise", 1.0),
            latent.recipe,
        )
    )
    return Result((replace(latent, recipe=recipe, caption=values["positive"].text),))


def sampling_work(values: Values, latency: LatencyModel) -> Work:
    """A step costs by size and batch."""
    latent: Latent = values["latent_image"]
    return Work(
        steps=values["steps"],
        seconds=latency.step(latent.width, latent.height, latent.batch_size),
        memory=memory.generation_bytes(latent.width, latent.height, latent.batch_size),
        model=values["model"].name,
    )


def decode(_context: Context, values: Values) -> Result:
    """VAEDecode: draws what the recipe says, over the pictures that the latent came from."""
    latent: Latent = values["samples"]
    pictures = []
    for index in range(latent.batch_size):
        picture = images.render(latent.width, latent.height, f"{latent.recipe}|{index}", latent.caption)
        if latent.source:
            source = latent.source[index % len(latent.source)].resize(picture.size)
            picture = Image.blend(source, picture, 0.6) if latent.caption else source
        pictures.append(picture)
    return Result((pictures,))


def decoding_work(values: Values, latency: LatencyModel) -> Work:
    """Pixels have to be held, however the latent came about."""
    latent: Latent = values["samples"]
    pixels = latent.width * latent.height * latent.batch_size
    return Work(seconds=latency.overhead(), memory=memory.upscale_bytes(pixels, 1))


def encode(_context: Context, values: Values) -> Result:
    """VAEEncode: remembers the pictures."""
    pictures: Pictures = values["pixels"]
    width, height = (max(8, size - size % 8) for size in pictures[0].size)
    recipe = "+".join(_digest(picture) for picture in pictures)
    return Result((Latent(width, height, len(pictures), recipe, "", tuple(pictures)),))


def upscale_latent(_context: Context, values: Values) -> Result:
    """LatentUpscale and LatentUpscaleBy."""
    latent: Latent = values["samples"]
    if "scale_by" in values:
        width, height = int(latent.width * values["scale_by"]), int(latent.height * values["scale_by"])
    else:
        width, height = target_size(latent.width, latent.height, values["width"], values["height"])
    return Result((replace(latent, width=max(8, width), height=max(8, height)),))


def repeat_latent(_context: Context, values: Values) -> Result:
    """RepeatLatentBatch."""
    latent: Latent = values["samples"]
    return Result((replace(latent, batch_size=latent.batch_size * values["amount"]),))

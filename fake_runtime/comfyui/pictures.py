"""Nodes that change pictures; they really do, with Pillow."""

from dataclasses import replace

from PIL import Image, ImageFilter, ImageOps

from fake_runtime.comfyui.node_types import Context, Pictures, Result, Values
from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.work import Work

_RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def target_size(width: int, height: int, wanted_width: int, wanted_height: int) -> tuple[int, int]:
    """A side given as 0 follows from the other one."""
    if wanted_width == 0 and wanted_height == 0:
        return width, height
    if wanted_width == 0:
        wanted_width = max(1, round(width * wanted_height / height))
    elif wanted_height == 0:
        wanted_height = max(1, round(height * wanted_width / width))
    return wanted_width, wanted_height


def empty_image(_context: Context, values: Values) -> Result:
    """EmptyImage: one colour."""
    color = values["color"]
    picture = Image.new("RGB", (values["width"], values["height"]), (color >> 16 & 255, color >> 8 & 255, color & 255))
    return Result(([picture.copy() for _ in range(values["batch_size"])],))


def empty_image_work(values: Values, _latency: LatencyModel) -> Work:
    """Pixels have to be held."""
    return Work(memory=memory.upscale_bytes(values["width"] * values["height"], values["batch_size"]))


def invert(_context: Context, values: Values) -> Result:
    """ImageInvert."""
    return Result(([ImageOps.invert(picture) for picture in values["image"]],))


def blur(_context: Context, values: Values) -> Result:
    """ImageBlur."""
    return Result(([picture.filter(ImageFilter.GaussianBlur(values["blur_radius"])) for picture in values["image"]],))


def blur_work(values: Values, latency: LatencyModel) -> Work:
    """A blur takes its time in one piece."""
    pixels = sum(picture.width * picture.height for picture in values["image"])
    # On a real CPU server a 31-pixel blur of a large picture takes seconds; it cannot be interrupted in its middle.
    return Work(seconds=latency.scale * 0.02 * values["blur_radius"] * pixels / 1e6)


def scale(_context: Context, values: Values) -> Result:
    """ImageScale and ImageScaleBy."""
    resampling = _RESAMPLING[values["upscale_method"]]
    scaled = []
    for picture in values["image"]:
        if "scale_by" in values:
            size = (
                max(1, round(picture.width * values["scale_by"])),
                max(1, round(picture.height * values["scale_by"])),
            )
        else:
            size = target_size(picture.width, picture.height, values["width"], values["height"])
        scaled.append(picture.resize(size, resampling))
    return Result((scaled,))


def scaling_work(values: Values, _latency: LatencyModel) -> Work:
    """Pixels have to be held."""
    factor = values.get("scale_by", 1.0)
    if "upscale_model" in values:
        factor = 4.0
    pixels = [picture.width * picture.height for picture in values["image"]]
    if "width" in values:
        pixels = [max(1, values["width"]) * max(1, values["height"])] * len(pixels)
    return Work(memory=max(memory.upscale_bytes(int(p * factor**2), 1) for p in pixels))


def upscale_with_model(_context: Context, values: Values) -> Result:
    """ImageUpscaleWithModel: four times as large, by nearest neighbour."""
    return Result(([p.resize((p.width * 4, p.height * 4), Image.Resampling.NEAREST) for p in values["image"]],))


def upscaling_work(values: Values, latency: LatencyModel) -> Work:
    """A model works longer than a filter."""
    work = scaling_work(values, latency)
    return replace(work, seconds=sum(latency.upscale(p.width * 4, p.height * 4) for p in values["image"]))


def batch(_context: Context, values: Values) -> Result:
    """ImageBatch: the second one takes the size of the first."""
    first: Pictures = values["image1"]
    second = [picture.resize(first[0].size) for picture in values["image2"]]
    return Result(([*first, *second],))

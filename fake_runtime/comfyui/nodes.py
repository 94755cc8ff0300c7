"""The nodes that the fake ComfyUI has: what each takes, gives, costs and does."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageFilter, ImageOps

from fake_runtime import images, media
from fake_runtime.comfyui.files import Files
from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel

SAMPLERS = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral",
    "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_sde_gpu", "dpmpp_2m", "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm", "ipndm_v", "deis", "res_multistep",
    "gradient_estimation", "er_sde", "seeds_2", "seeds_3", "sa_solver", "ddim", "uni_pc", "uni_pc_bh2",
]  # fmt: skip
SCHEDULERS = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic", "kl_optimal",
]  # fmt: skip
UPSCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
_RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
MAX_RESOLUTION = 16384
_FRAMES_FROM_A_VIDEO = 8


# --- what flows along the links


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint's diffusion model, text encoder or image codec."""

    name: str


@dataclass(frozen=True, slots=True)
class Conditioning:
    """An encoded prompt."""

    text: str


@dataclass(frozen=True, slots=True)
class Latent:
    """A batch of latents: sizes in pixels, the recipe that the pictures follow from, and the pictures they came from."""

    width: int
    height: int
    batch_size: int
    recipe: str = ""
    caption: str = ""
    source: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound."""

    seconds: float


type Pictures = list[Image.Image]
type Values = dict[str, Any]


# --- what a node is


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a node; choices make it a combo box, of which there may be new ones at any time."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    choices: Callable[["Shelf"], list[str]] | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a server offers for choice."""

    checkpoints: list[str]
    files: Files


@dataclass(frozen=True, slots=True)
class Work:
    """What a node asks of the GPU.

    Attributes:
        steps: sampling steps, each reported as progress; 0 for nodes without.
        seconds: of one step, or of the node if it has none.
        memory: bytes of activations.
        model: the checkpoint that must be loaded.
    """

    steps: int = 0
    seconds: float = 0.0
    memory: int = 0
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a node gives: a value per output, and what output nodes show."""

    values: tuple[Any, ...] = ()
    shown: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a running node may use beside its inputs."""

    files: Files
    prompt_json: str


def _no_work(values: Values, latency: LatencyModel) -> Work:
    return Work()


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A kind of node."""

    name: str
    outputs: tuple[str, ...]
    run: Callable[[Context, Values], Result]
    required: Mapping[str, Input] = field(default_factory=dict)
    optional: Mapping[str, Input] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    output_node: bool = False
    category: str = "image"
    display_name: str = ""
    python_module: str = "nodes"
    work: Callable[[Values, LatencyModel], Work] = _no_work
    # The input that names a file in the input folder, which must be there.
    file_input: str | None = None


def _digest(picture: Image.Image) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]


# --- loaders and encoders


def _load_checkpoint(context: Context, values: Values) -> Result:
    model = Model(values["ckpt_name"])
    return Result((model, model, model))


def _encode_text(context: Context, values: Values) -> Result:
    return Result((Conditioning(values["text"]),))


def _combine(context: Context, values: Values) -> Result:
    texts = [
        values[key].text
        for key in ("conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from")
        if key in values
    ]
    return Result((Conditioning(" ".join(texts)),))


def _empty_latent(context: Context, values: Values) -> Result:
    return Result((Latent(values["width"], values["height"], values["batch_size"]),))


def _open(path: Path) -> Image.Image:
    # Pillow's UnidentifiedImageError goes to the client as it is, path included, as in the original.
    image = Image.open(path)
    image.load()
    return image


def _load_image(context: Context, values: Values) -> Result:
    path = context.files.find(values["image"])
    if path is None:
        raise FileNotFoundError(2, "No such file or directory", str(context.files.folder("input") / values["image"]))
    image = _open(path)
    mask = ImageOps.invert(image.getchannel("A")) if "A" in image.getbands() else Image.new("L", (64, 64))
    return Result(([image.convert("RGB")], [mask]))


def _load_mask(context: Context, values: Values) -> Result:
    path = context.files.find(values["image"])
    if path is None:
        raise FileNotFoundError(2, "No such file or directory", str(context.files.folder("input") / values["image"]))
    image = _open(path)
    channel = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}[values["channel"]]
    if channel == "A":
        alpha = image.getchannel("A") if "A" in image.getbands() else Image.new("L", image.size, 255)
        return Result(([ImageOps.invert(alpha)],))
    return Result(([image.convert("RGB").getchannel(channel)],))


def _load_frames(context: Context, values: Values) -> Result:
    path = context.files.find(values["video"])
    if path is None:
        raise FileNotFoundError(2, "No such file or directory", str(context.files.folder("input") / values["video"]))
    recipe = hashlib.sha256(path.read_bytes()).hexdigest()
    frames = [images.render(256, 256, f"{recipe}|{index}", path.name) for index in range(_FRAMES_FROM_A_VIDEO)]
    return Result((frames, _FRAMES_FROM_A_VIDEO, Audio(1.0), {"source_fps": 8.0}))


def _load_audio(context: Context, values: Values) -> Result:
    if context.files.find(values["audio"]) is None:
        raise FileNotFoundError(2, "No such file or directory", str(context.files.folder("input") / values["audio"]))
    return Result((Audio(1.0),))


# --- sampling


def _sample(context: Context, values: Values) -> Result:
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


def _sampling_work(values: Values, latency: LatencyModel) -> Work:
    latent: Latent = values["latent_image"]
    return Work(
        steps=values["steps"],
        seconds=latency.step(latent.width, latent.height, latent.batch_size),
        memory=memory.generation_bytes(latent.width, latent.height, latent.batch_size),
        model=values["model"].name,
    )


def _decode(context: Context, values: Values) -> Result:
    latent: Latent = values["samples"]
    pictures = []
    for index in range(latent.batch_size):
        picture = images.render(latent.width, latent.height, f"{latent.recipe}|{index}", latent.caption)
        if latent.source:
            source = latent.source[index % len(latent.source)].resize(picture.size)
            picture = Image.blend(source, picture, 0.6) if latent.caption else source
        pictures.append(picture)
    return Result((pictures,))


def _decoding_work(values: Values, latency: LatencyModel) -> Work:
    latent: Latent = values["samples"]
    pixels = latent.width * latent.height * latent.batch_size
    return Work(seconds=latency.overhead(), memory=memory.upscale_bytes(pixels, 1))


def _encode(context: Context, values: Values) -> Result:
    pictures: Pictures = values["pixels"]
    width, height = (max(8, size - size % 8) for size in pictures[0].size)
    recipe = "+".join(_digest(picture) for picture in pictures)
    return Result((Latent(width, height, len(pictures), recipe, "", tuple(pictures)),))


def _upscale_latent(context: Context, values: Values) -> Result:
    latent: Latent = values["samples"]
    if "scale_by" in values:
        width, height = int(latent.width * values["scale_by"]), int(latent.height * values["scale_by"])
    else:
        width, height = _target(latent.width, latent.height, values["width"], values["height"])
    return Result((replace(latent, width=max(8, width), height=max(8, height)),))


def _repeat_latent(context: Context, values: Values) -> Result:
    latent: Latent = values["samples"]
    return Result((replace(latent, batch_size=latent.batch_size * values["amount"]),))


# --- pictures


def _empty_image(context: Context, values: Values) -> Result:
    color = values["color"]
    picture = Image.new("RGB", (values["width"], values["height"]), (color >> 16 & 255, color >> 8 & 255, color & 255))
    return Result(([picture.copy() for _ in range(values["batch_size"])],))


def _empty_image_work(values: Values, latency: LatencyModel) -> Work:
    return Work(memory=memory.upscale_bytes(values["width"] * values["height"], values["batch_size"]))


def _invert(context: Context, values: Values) -> Result:
    return Result(([ImageOps.invert(picture) for picture in values["image"]],))


def _blur(context: Context, values: Values) -> Result:
    return Result(([picture.filter(ImageFilter.GaussianBlur(values["blur_radius"])) for picture in values["image"]],))


def _blur_work(values: Values, latency: LatencyModel) -> Work:
    pixels = sum(picture.width * picture.height for picture in values["image"])
    # On a real CPU server a 31-pixel blur of a large picture takes seconds; it cannot be interrupted in its middle.
    return Work(seconds=latency.scale * 0.02 * values["blur_radius"] * pixels / 1e6)


def _target(width: int, height: int, wanted_width: int, wanted_height: int) -> tuple[int, int]:
    """A side given as 0 follows from the other one."""
    if wanted_width == 0 and wanted_height == 0:
        return width, height
    if wanted_width == 0:
        wanted_width = max(1, round(width * wanted_height / height))
    elif wanted_height == 0:
        wanted_height = max(1, round(height * wanted_width / width))
    return wanted_width, wanted_height


def _scale(context: Context, values: Values) -> Result:
    resampling = _RESAMPLING[values["upscale_method"]]
    scaled = []
    for picture in values["image"]:
        if "scale_by" in values:
            size = (
                max(1, round(picture.width * values["scale_by"])),
                max(1, round(picture.height * values["scale_by"])),
            )
        else:
            size = _target(picture.width, picture.height, values["width"], values["height"])
        scaled.append(picture.resize(size, resampling))
    return Result((scaled,))


def _scaling_work(values: Values, latency: LatencyModel) -> Work:
    factor = values.get("scale_by", 1.0)
    if "upscale_model" in values:
        factor = 4.0
    pixels = [picture.width * picture.height for picture in values["image"]]
    if "width" in values:
        pixels = [max(1, values["width"]) * max(1, values["height"])] * len(pixels)
    return Work(memory=max(memory.upscale_bytes(int(p * factor**2), 1) for p in pixels))


def _upscale_with_model(context: Context, values: Values) -> Result:
    return Result(([p.resize((p.width * 4, p.height * 4), Image.Resampling.NEAREST) for p in values["image"]],))


def _upscaling_work(values: Values, latency: LatencyModel) -> Work:
    work = _scaling_work(values, latency)
    return replace(work, seconds=sum(latency.upscale(p.width * 4, p.height * 4) for p in values["image"]))


def _batch(context: Context, values: Values) -> Result:
    first: Pictures = values["image1"]
    second = [picture.resize(first[0].size) for picture in values["image2"]]
    return Result(([*first, *second],))


# --- outputs


def _png_chunks(context: Context) -> dict[str, str]:
    return {"prompt": context.prompt_json}


def _saver(kind: str, key: str = "images") -> Callable[[Context, Values], Result]:
    def save(context: Context, values: Values) -> Result:
        prefix = values.get("filename_prefix", "ComfyUI_temp")
        folder = "temp" if kind == "preview" else "output"
        saved = []
        for picture in values[key]:
            text = prefix.replace("%width%", str(picture.width)).replace("%height%", str(picture.height))
            data = images.encode_png(picture, _png_chunks(context))
            saved.append(context.files.save(folder, text, ".png", data))  # type: ignore[arg-type]
        return Result((), {"images": saved})

    return save


def _save_animation(kind: str, suffix: str) -> Callable[[Context, Values], Result]:
    def save(context: Context, values: Values) -> Result:
        data = media.animated(values["images"], kind, values["fps"])
        saved = context.files.save("output", values["filename_prefix"], suffix, data)
        return Result((), {"images": [saved], "animated": [True]})

    return save


def _combine_video(context: Context, values: Values) -> Result:
    pictures: Pictures = values["images"]
    kind, _, codec = values["format"].partition("/")
    frame_rate = float(values["frame_rate"])
    if kind == "image":
        data, suffix = media.animated(pictures, codec.upper(), frame_rate), f".{codec}"
    else:
        data = media.mp4([images.encode_jpeg(picture) for picture in pictures], frame_rate)
        suffix = ".webm" if codec == "webm" else ".mp4"
    folder = "output" if values.get("save_output", True) else "temp"
    saved = context.files.save(folder, values["filename_prefix"], suffix, data, "{}_{:05}{}")  # type: ignore[arg-type]
    full = {
        "format": values["format"],
        "frame_rate": frame_rate,
        "fullpath": str(context.files.folder("output") / saved["filename"]),
    }
    return Result(((True, [saved["filename"]]),), {"gifs": [{**saved, **full}]})


def _make_video(context: Context, values: Values) -> Result:
    return Result((media.mp4([images.encode_jpeg(picture) for picture in values["images"]], values["fps"]),))


def _save_video(context: Context, values: Values) -> Result:
    saved = context.files.save("output", values["filename_prefix"], ".mp4", values["video"])
    return Result((), {"images": [saved], "animated": [True]})


def _save_audio(context: Context, values: Values) -> Result:
    audio: Audio = values["audio"]
    return Result(
        (), {"audio": [context.files.save("output", values["filename_prefix"], ".flac", media.flac(audio.seconds))]}
    )


def _empty_audio(context: Context, values: Values) -> Result:
    return Result((Audio(values["seconds"]),))


def _show_text(context: Context, values: Values) -> Result:
    return Result((values["text"],), {"text": [values["text"]]})


def _pass_on(*keys: str) -> Callable[[Context, Values], Result]:
    def run(context: Context, values: Values) -> Result:
        return Result(tuple(values[key] for key in keys))

    return run


# --- the table


def _combo(choices: Sequence[str], **config: Any) -> Input:
    options = list(choices)
    return Input("COMBO", config, lambda shelf: options)


def _integer(default: int, low: int = 0, high: int = MAX_RESOLUTION, **config: Any) -> Input:
    return Input("INT", {"default": default, "min": low, "max": high, **config})


def _number(default: float, low: float, high: float, step: float = 0.01) -> Input:
    return Input("FLOAT", {"default": default, "min": low, "max": high, "step": step})


def _string(default: str = "", **config: Any) -> Input:
    return Input("STRING", {"default": default, **config})


def _link(kind: str) -> Input:
    return Input(kind)


def _checkpoints(shelf: Shelf) -> list[str]:
    return shelf.checkpoints


def _input_files(shelf: Shelf) -> list[str]:
    return shelf.files.input_names()


def _none(shelf: Shelf) -> list[str]:
    return []


_SEED = Input("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True})
_SAMPLING = {
    "steps": _integer(20, 1, 10000),
    "cfg": Input("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}),
    "sampler_name": _combo(SAMPLERS),
    "scheduler": _combo(SCHEDULERS),
    "positive": _link("CONDITIONING"),
    "negative": _link("CONDITIONING"),
    "latent_image": _link("LATENT"),
}
_LATENT_SIZE = {
    "width": _integer(512, 16, step=8),
    "height": _integer(512, 16, step=8),
    "batch_size": _integer(1, 1, 4096),
}
_PREFIX = _string("ComfyUI")
_STRENGTH = _number(1.0, -100.0, 100.0)

_ALL = (
    NodeClass(
        "CheckpointLoaderSimple",
        ("MODEL", "CLIP", "VAE"),
        _load_checkpoint,
        {"ckpt_name": Input("COMBO", {"tooltip": "The name of the checkpoint (model) to load."}, _checkpoints)},
        category="loaders",
        display_name="Load Checkpoint",
        # Reading the file is this node's cost; it is moved to the GPU when it is sampled with.
        work=lambda values, latency: Work(model=values["ckpt_name"]),
    ),
    NodeClass(
        "LoraLoader",
        ("MODEL", "CLIP"),
        _pass_on("model", "clip"),
        {
            "model": _link("MODEL"),
            "clip": _link("CLIP"),
            "lora_name": Input("COMBO", {}, _none),
            "strength_model": _STRENGTH,
            "strength_clip": _STRENGTH,
        },
        category="loaders",
        display_name="Load LoRA",
    ),
    NodeClass(
        "VAELoader",
        ("VAE",),
        _pass_on("vae_name"),
        {"vae_name": Input("COMBO", {}, _none)},
        category="loaders",
        display_name="Load VAE",
    ),
    NodeClass(
        "UpscaleModelLoader",
        ("UPSCALE_MODEL",),
        _pass_on("model_name"),
        {"model_name": _combo(["RealESRGAN_x4plus.pth", "4x-UltraSharp.pth"])},
        category="loaders",
        display_name="Load Upscale Model",
        python_module="comfy_extras.nodes_upscale_model",
    ),
    NodeClass(
        "CLIPTextEncode",
        ("CONDITIONING",),
        _encode_text,
        {"text": Input("STRING", {"multiline": True, "dynamicPrompts": True}), "clip": _link("CLIP")},
        category="conditioning",
        display_name="CLIP Text Encode (Prompt)",
    ),
    NodeClass(
        "CLIPSetLastLayer",
        ("CLIP",),
        _pass_on("clip"),
        {"clip": _link("CLIP"), "stop_at_clip_layer": _integer(-1, -24, -1)},
        category="conditioning",
        display_name="CLIP Set Last Layer",
    ),
    NodeClass(
        "ConditioningCombine",
        ("CONDITIONING",),
        _combine,
        {"conditioning_1": _link("CONDITIONING"), "conditioning_2": _link("CONDITIONING")},
        category="conditioning",
        display_name="Conditioning (Combine)",
    ),
    NodeClass(
        "EmptyLatentImage",
        ("LATENT",),
        _empty_latent,
        _LATENT_SIZE,
        category="latent",
        display_name="Empty Latent Image",
    ),
    NodeClass(
        "EmptySD3LatentImage",
        ("LATENT",),
        _empty_latent,
        _LATENT_SIZE,
        category="latent/sd3",
        python_module="comfy_extras.nodes_sd3",
    ),
    NodeClass(
        "KSampler",
        ("LATENT",),
        _sample,
        {"model": _link("MODEL"), "seed": _SEED, **_SAMPLING, "denoise": _number(1.0, 0.0, 1.0)},
        category="sampling",
        work=_sampling_work,
    ),
    NodeClass(
        "KSamplerAdvanced",
        ("LATENT",),
        _sample,
        {
            "model": _link("MODEL"),
            "add_noise": _combo(["enable", "disable"]),
            "noise_seed": _SEED,
            **_SAMPLING,
            "start_at_step": _integer(0, 0, 10000),
            "end_at_step": _integer(10000, 0, 10000),
            "return_with_leftover_noise": _combo(["disable", "enable"]),
        },
        category="sampling",
        display_name="KSampler (Advanced)",
        work=_sampling_work,
    ),
    NodeClass(
        "VAEDecode",
        ("IMAGE",),
        _decode,
        {"samples": _link("LATENT"), "vae": _link("VAE")},
        category="latent",
        display_name="VAE Decode",
        work=_decoding_work,
    ),
    NodeClass(
        "VAEEncode",
        ("LATENT",),
        _encode,
        {"pixels": _link("IMAGE"), "vae": _link("VAE")},
        category="latent",
        display_name="VAE Encode",
    ),
    NodeClass(
        "VAEEncodeForInpaint",
        ("LATENT",),
        _encode,
        {"pixels": _link("IMAGE"), "vae": _link("VAE"), "mask": _link("MASK"), "grow_mask_by": _integer(6, 0, 64)},
        category="latent/inpaint",
        display_name="VAE Encode (for Inpainting)",
    ),
    NodeClass(
        "LatentUpscale",
        ("LATENT",),
        _upscale_latent,
        {
            "samples": _link("LATENT"),
            "upscale_method": _combo(["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]),
            "width": _integer(512),
            "height": _integer(512),
            "crop": _combo(["disabled", "center"]),
        },
        category="latent",
        display_name="Upscale Latent",
    ),
    NodeClass(
        "LatentUpscaleBy",
        ("LATENT",),
        _upscale_latent,
        {
            "samples": _link("LATENT"),
            "upscale_method": _combo(["nearest-exact", "bilinear", "area", "bicubic", "bislerp"]),
            "scale_by": _number(1.5, 0.01, 8.0),
        },
        category="latent",
        display_name="Upscale Latent By",
    ),
    NodeClass(
        "RepeatLatentBatch",
        ("LATENT",),
        _repeat_latent,
        {"samples": _link("LATENT"), "amount": _integer(1, 1, 64)},
        category="latent/batch",
        display_name="Repeat Latent Batch",
    ),
    NodeClass(
        "LoadImage",
        ("IMAGE", "MASK"),
        _load_image,
        {"image": Input("COMBO", {"image_upload": True}, _input_files)},
        display_name="Load Image",
        file_input="image",
    ),
    NodeClass(
        "LoadImageMask",
        ("MASK",),
        _load_mask,
        {
            "image": Input("COMBO", {"image_upload": True}, _input_files),
            "channel": _combo(["alpha", "red", "green", "blue"]),
        },
        category="mask",
        display_name="Load Image (as Mask)",
        file_input="image",
    ),
    NodeClass(
        "EmptyImage",
        ("IMAGE",),
        _empty_image,
        {
            "width": _integer(512, 1),
            "height": _integer(512, 1),
            "batch_size": _integer(1, 1, 4096),
            "color": _integer(0, 0, 0xFFFFFF, step=1, display="color"),
        },
        work=_empty_image_work,
    ),
    NodeClass("ImageInvert", ("IMAGE",), _invert, {"image": _link("IMAGE")}, display_name="Invert Image"),
    NodeClass(
        "ImageBlur",
        ("IMAGE",),
        _blur,
        {"image": _link("IMAGE"), "blur_radius": _integer(1, 1, 31, step=1), "sigma": _number(1.0, 0.1, 10.0, 0.1)},
        category="image/postprocessing",
        python_module="comfy_extras.nodes_post_processing",
        work=_blur_work,
    ),
    NodeClass(
        "ImageScale",
        ("IMAGE",),
        _scale,
        {
            "image": _link("IMAGE"),
            "upscale_method": _combo(UPSCALE_METHODS),
            "width": _integer(512, step=1),
            "height": _integer(512, step=1),
            "crop": _combo(["disabled", "center"]),
        },
        category="image/upscaling",
        display_name="Upscale Image",
        work=_scaling_work,
    ),
    NodeClass(
        "ImageScaleBy",
        ("IMAGE",),
        _scale,
        {"image": _link("IMAGE"), "upscale_method": _combo(UPSCALE_METHODS), "scale_by": _number(1.0, 0.01, 8.0)},
        category="image/upscaling",
        display_name="Upscale Image By",
        work=_scaling_work,
    ),
    NodeClass(
        "ImageUpscaleWithModel",
        ("IMAGE",),
        _upscale_with_model,
        {"upscale_model": _link("UPSCALE_MODEL"), "image": _link("IMAGE")},
        category="image/upscaling",
        display_name="Upscale Image (using Model)",
        python_module="comfy_extras.nodes_upscale_model",
        work=_upscaling_work,
    ),
    NodeClass(
        "ImageBatch",
        ("IMAGE",),
        _batch,
        {"image1": _link("IMAGE"), "image2": _link("IMAGE")},
        display_name="Batch Images",
    ),
    NodeClass(
        "SaveImage",
        (),
        _saver("save"),
        {"images": _link("IMAGE"), "filename_prefix": _PREFIX},
        output_node=True,
        display_name="Save Image",
    ),
    NodeClass(
        "PreviewImage",
        (),
        _saver("preview"),
        {"images": _link("IMAGE")},
        output_node=True,
        display_name="Preview Image",
    ),
    NodeClass(
        "SaveAnimatedWEBP",
        (),
        _save_animation("WEBP", ".webp"),
        {
            "images": _link("IMAGE"),
            "filename_prefix": _PREFIX,
            "fps": _number(6.0, 0.01, 1000.0),
            "lossless": Input("BOOLEAN", {"default": True}),
            "quality": _integer(80, 0, 100),
            "method": _combo(["default", "fastest", "slowest"]),
        },
        output_node=True,
        category="image/animation",
        python_module="comfy_extras.nodes_images",
    ),
    NodeClass(
        "SaveAnimatedPNG",
        (),
        _save_animation("PNG", ".png"),
        {
            "images": _link("IMAGE"),
            "filename_prefix": _PREFIX,
            "fps": _number(6.0, 0.01, 1000.0),
            "compress_level": _integer(4, 0, 9),
        },
        output_node=True,
        category="image/animation",
        python_module="comfy_extras.nodes_images",
    ),
    NodeClass(
        "CreateVideo",
        ("VIDEO",),
        _make_video,
        {"images": _link("IMAGE"), "fps": _number(30.0, 1.0, 120.0, 1.0)},
        {"audio": _link("AUDIO")},
        category="image/video",
        display_name="Create Video",
        python_module="comfy_extras.nodes_video",
    ),
    NodeClass(
        "SaveVideo",
        (),
        _save_video,
        {
            "video": _link("VIDEO"),
            "filename_prefix": _string("video/ComfyUI"),
            "format": _combo(["auto", "mp4"], default="auto"),
            "codec": _combo(["auto", "h264"], default="auto"),
        },
        output_node=True,
        category="image/video",
        display_name="Save Video",
        python_module="comfy_extras.nodes_video",
    ),
    NodeClass(
        "EmptyLatentAudio",
        ("AUDIO",),
        _empty_audio,
        {"seconds": _number(47.6, 1.0, 1000.0, 0.1), "batch_size": _integer(1, 1, 4096)},
        category="latent/audio",
        python_module="comfy_extras.nodes_audio",
    ),
    NodeClass(
        "LoadAudio",
        ("AUDIO",),
        _load_audio,
        {"audio": Input("COMBO", {"audio_upload": True}, _input_files)},
        category="audio",
        python_module="comfy_extras.nodes_audio",
        file_input="audio",
    ),
    NodeClass(
        "SaveAudio",
        (),
        _save_audio,
        {"audio": _link("AUDIO"), "filename_prefix": _string("audio/ComfyUI")},
        output_node=True,
        category="audio",
        display_name="Save Audio (FLAC)",
        python_module="comfy_extras.nodes_audio",
    ),
    NodeClass(
        "PreviewAny",
        ("STRING",),
        lambda context, values: Result((str(values["source"]),), {"text": [str(values["source"])]}),
        {"source": _link("*")},
        output_node=True,
        category="utils",
        display_name="Preview Any",
        python_module="comfy_extras.nodes_preview_any",
    ),
    # Stand-ins for popular custom nodes.
    NodeClass(
        "VHS_LoadVideo",
        ("IMAGE", "INT", "AUDIO", "VHS_VIDEOINFO"),
        _load_frames,
        {
            "video": Input("COMBO", {"video_upload": True}, _input_files),
            "force_rate": _number(0.0, 0.0, 60.0, 1.0),
            "custom_width": _integer(0, 0, 8192),
            "custom_height": _integer(0, 0, 8192),
            "frame_load_cap": _integer(0, 0, 2**53 - 1),
            "skip_first_frames": _integer(0, 0, 2**53 - 1),
            "select_every_nth": _integer(1, 1, 2**53 - 1),
        },
        output_names=("IMAGE", "frame_count", "audio", "video_info"),
        category="Video Helper Suite",
        display_name="Load Video (Upload)",
        python_module="custom_nodes.ComfyUI-VideoHelperSuite",
        file_input="video",
    ),
    NodeClass(
        "VHS_VideoCombine",
        ("VHS_FILENAMES",),
        _combine_video,
        {
            "images": _link("IMAGE"),
            "frame_rate": _number(8.0, 1.0, 1000.0, 1.0),
            "loop_count": _integer(0, 0, 100),
            "filename_prefix": _string("AnimateDiff"),
            "format": _combo(["image/gif", "image/webp", "video/h264-mp4", "video/webm"]),
            "pingpong": Input("BOOLEAN", {"default": False}),
            "save_output": Input("BOOLEAN", {"default": True}),
        },
        {"audio": _link("AUDIO")},
        output_names=("Filenames",),
        output_node=True,
        category="Video Helper Suite",
        display_name="Video Combine",
        python_module="custom_nodes.ComfyUI-VideoHelperSuite",
    ),
    NodeClass(
        "ShowText|pysssss",
        ("STRING",),
        _show_text,
        {"text": _string(forceInput=True)},
        output_node=True,
        category="utils",
        display_name="Show Text",
        python_module="custom_nodes.ComfyUI-Custom-Scripts",
    ),
)

NODE_CLASSES: dict[str, NodeClass] = {node.name: node for node in _ALL}


def input_config(spec: Input, shelf: Shelf) -> list[Any]:
    """An input as ``object_info`` and error bodies show it: ``[type or choices, config]``."""
    return [spec.type if spec.choices is None else spec.choices(shelf), dict(spec.config)]


def describe(node: NodeClass, shelf: Shelf) -> dict[str, Any]:
    """An entry of ``object_info``."""
    inputs = {
        kind: {name: input_config(spec, shelf) for name, spec in specs.items()}
        for kind, specs in (("required", node.required), ("optional", node.optional))
        if specs or kind == "required"
    }
    return {
        "input": inputs,
        "input_order": {kind: list(specs) for kind, specs in inputs.items()},
        "output": list(node.outputs),
        "output_is_list": [False] * len(node.outputs),
        "output_name": list(node.output_names or node.outputs),
        "name": node.name,
        "display_name": node.display_name or node.name,
        "description": "",
        "python_module": node.python_module,
        "category": node.category,
        "output_node": node.output_node,
    }

"""Nodes that load checkpoints, files and texts."""

import errno
import hashlib
import os
from pathlib import Path

from PIL import Image, ImageOps

from fake_runtime import images
from fake_runtime.comfyui.node_types import Audio, Conditioning, Context, Latent, Model, Result, Values

_FRAMES_FROM_A_VIDEO = 8


def load_checkpoint(_context: Context, values: Values) -> Result:
    """CheckpointLoaderSimple."""
    model = Model(values["ckpt_name"])
    return Result((model, model, model))


def encode_text(_context: Context, values: Values) -> Result:
    """CLIPTextEncode."""
    return Result((Conditioning(values["text"]),))


def combine(_context: Context, values: Values) -> Result:
    """ConditioningCombine."""
    texts = [
        values[key].text
        for key in ("conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from")
        if key in values
    ]
    return Result((Conditioning(" ".join(texts)),))


def empty_latent(_context: Context, values: Values) -> Result:
    """EmptyLatentImage: size in pixels."""
    return Result((Latent(values["width"], values["height"], values["batch_size"]),))


def _input_file(context: Context, name: str) -> Path:
    path = context.files.find(name)
    if path is None:
        kind, reason = (
            (IsADirectoryError, errno.EISDIR) if context.files.exists(name) else (FileNotFoundError, errno.ENOENT)
        )
        raise kind(reason, os.strerror(reason), str(context.files.folder("input") / name))
    return path


def _open(path: Path) -> Image.Image:
    # Pillow's UnidentifiedImageError goes to the client as it is, path included, as in the original.
    image = Image.open(path)
    image.load()
    return image


def load_image(context: Context, values: Values) -> Result:
    """LoadImage: the picture, and its transparency as a mask."""
    path = _input_file(context, values["image"])
    image = _open(path)
    mask = ImageOps.invert(image.getchannel("A")) if "A" in image.getbands() else Image.new("L", (64, 64))
    return Result(([image.convert("RGB")], [mask]))


def load_mask(context: Context, values: Values) -> Result:
    """LoadImageMask: one channel."""
    path = _input_file(context, values["image"])
    image = _open(path)
    channel = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}[values["channel"]]
    if channel == "A":
        alpha = image.getchannel("A") if "A" in image.getbands() else Image.new("L", image.size, 255)
        return Result(([ImageOps.invert(alpha)],))
    return Result(([image.convert("RGB").getchannel(channel)],))


def load_frames(context: Context, values: Values) -> Result:
    """VHS_LoadVideo: frames that follow from the bytes of the file; nothing here can read a video."""
    path = _input_file(context, values["video"])
    recipe = hashlib.sha256(path.read_bytes()).hexdigest()
    frames = [images.render(256, 256, f"{recipe}|{index}", path.name) for index in range(_FRAMES_FROM_A_VIDEO)]
    return Result((frames, _FRAMES_FROM_A_VIDEO, Audio(1.0), {"source_fps": 8.0}))


def load_audio(context: Context, values: Values) -> Result:
    """LoadAudio: a second of it."""
    _input_file(context, values["audio"])
    return Result((Audio(1.0),))

"""The folders of the model bucket, which are those that the runtimes see, and what belongs in each."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

FOLDERS: Final = {
    "Stable-diffusion": "checkpoints: whole models",
    "Lora": "LoRA, LyCORIS and other small additions to a checkpoint",
    "VAE": "autoencoders, in the place of a checkpoint's own",
    "VAE-approx": "small autoencoders for previews (TAESD)",
    "ControlNet": "ControlNets and T2I adapters",
    "ESRGAN": "upscalers",
    "RealESRGAN": "upscalers of that kind",
    "SwinIR": "upscalers of that kind",
    "LDSR": "upscalers of that kind",
    "ScuNET": "denoising upscalers",
    "embeddings": "textual inversions",
    "hypernetworks": "hypernetworks",
    "Codeformer": "face restoration",
    "GFPGAN": "face restoration",
    "CLIP": "models that describe images",
    "clip_vision": "ComfyUI: image encoders",
    "text_encoders": "ComfyUI: text encoders on their own",
    "diffusion_models": "ComfyUI: diffusion models without text encoder and VAE",
    "model_patches": "ComfyUI: patches of diffusion models, some ControlNets among them",
    "style_models": "ComfyUI: style models (Redux)",
    "audio_encoders": "ComfyUI: sound encoders",
    "latent_upscale_models": "ComfyUI: upscalers of latents",
    "geometry_estimation": "ComfyUI: depth and geometry (MoGe, Depth Anything)",
    "background_removal": "ComfyUI: background removal",
    "frame_interpolation": "ComfyUI: frames between frames",
    "optical_flow": "ComfyUI: optical flow",
    "detection": "ComfyUI: detectors",
    "classifiers": "ComfyUI: classifiers",
    "gligen": "ComfyUI: GLIGEN",
    "photomaker": "ComfyUI: PhotoMaker",
    "diffusers": "ComfyUI: models in the layout of diffusers, a folder each",
    "configs": "ComfyUI: descriptions of checkpoints (YAML)",
    "datasets": "ComfyUI: data to train with",
}
"""The reference's folders, named as SD Web UI names those below its models folder; from clip_vision on ComfyUI's."""

_FORBIDDEN: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_MAX_KEY: Final = 1024
"""Bytes; Amazon S3 User Guide, "Object key naming guidelines"."""


class WrongPlaceError(Exception):
    """A file cannot go, or does not lie, where it was said; the text names it and the way out."""


def known_folder(name: str) -> str:
    """Returns a folder's name as the bucket spells it; upper and lower case do not matter.

    Raises:
        WrongPlaceError: there is no such folder.
    """
    for folder in FOLDERS:
        if folder.lower() == name.lower():
            return folder
    raise WrongPlaceError(f"{name!r} is no folder of the model bucket; there are {', '.join(FOLDERS)}")


def key_of(folder: str, name: str) -> str:
    """Returns the key of a file in a folder; the name may have folders of its own below it.

    Raises:
        WrongPlaceError: the folder is not known, or S3 or a file system could not keep the name.
    """
    key = f"{known_folder(folder)}/{name}"
    if (fault := fault_of(key)) is not None:
        raise WrongPlaceError(f"{name!r} cannot be a model's name: {fault}")
    return key


def fault_of(key: str) -> str | None:
    """Returns why a key is not one of a model, or None.

    A key that passes stays below any folder that it is joined to.
    """
    folder, slash, name = key.partition("/")
    if not slash or folder not in FOLDERS:
        return "it lies in none of the model folders"
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY:
        return f"S3 takes {_MAX_KEY} bytes at most"
    if _FORBIDDEN.search(key) or not key.isprintable():
        return "it has a backslash or a character that cannot be shown"
    if any(part in {"", ".", ".."} or part.startswith(".") for part in name.split("/")):
        return "a part of it is empty or begins with a dot"
    return None


def place_in_tree(relative: PurePosixPath) -> tuple[str, str] | None:
    """Returns folder and name of a file in a folder that is laid out like the bucket, or None where it is not."""
    for index, part in enumerate(relative.parts[:-1]):
        for folder in FOLDERS:
            if folder.lower() == part.lower():
                return folder, "/".join(relative.parts[index + 1 :])
    return None

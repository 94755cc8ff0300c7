"""Guesses from a safetensors header which folder of the model bucket a file belongs in."""

from __future__ import annotations

import re
from typing import Final

from local.models.safetensors import Header

_BY_ARCHITECTURE: Final = {
    "lora": "Lora",
    "controlnet": "ControlNet",
    "textual-inversion": "embeddings",
    "vae": "VAE",
    "hypernetwork": "hypernetworks",
}
"""The part after the slash of `modelspec.architecture`: https://github.com/Stability-AI/ModelSpec."""

_BY_NAMES: Final = (
    # The first that fits decides: a LoRA of a ControlNet is a LoRA.
    ("Lora", re.compile(r"\.(lora_(up|down|A|B)|hada_w1_a|lokr_w1(_a)?|oft_blocks|dora_scale)(\.|$)|^lora_(unet|te)")),
    ("ControlNet", re.compile(r"^(control_model\.|controlnet_cond_embedding\.|controlnet_blocks\.|adapter\.body\.)")),
    ("embeddings", re.compile(r"^(emb_params|string_to_param.*|clip_[lg])$")),
    ("SwinIR", re.compile(r"^layers\.0\.residual_group\.")),
    ("ESRGAN", re.compile(r"^(model\.1\.sub\.0\.RDB1|RRDB_trunk\.0\.|body\.0\.rdb1|body\.0\.weight|upsampler\.)")),
    ("clip_vision", re.compile(r"^(vision_model\.|visual\.)")),
)
_UNET: Final = re.compile(
    r"^(model\.diffusion_model\.|input_blocks\.|double_blocks\.|joint_blocks\.|transformer_blocks\.)"
)
_TEXT: Final = re.compile(r"^(cond_stage_model\.|conditioner\.|text_encoders?\.)")
_AUTOENCODER: Final = re.compile(r"^(first_stage_model\.|vae\.)")
_PLAIN_VAE: Final = re.compile(r"^(en|de)coder\.(conv_in|down|up|mid|down_blocks|up_blocks)")
_PLAIN_TEXT: Final = re.compile(r"^(text_model\.encoder\.|encoder\.block\.0\.layer\.|transformer\.resblocks\.)")
_SMALL_VAE: Final = re.compile(r"^((en|de)coder\.\d+\.|\d+\.conv\.\d)|^taesd")


def guess_folder(header: Header) -> str | None:
    """Returns the folder, or None where the header does not tell."""
    architecture = header.metadata.get("modelspec.architecture", "")
    if (found := _BY_ARCHITECTURE.get(architecture.partition("/")[2].lower())) is not None:
        return found
    if "ss_network_module" in header.metadata:  # kohya's trainer
        return "Lora"
    names = header.tensors
    for folder, pattern in _BY_NAMES:
        if any(pattern.search(name) for name in names):
            return folder
    return _whole_or_part(list(names))


def _whole_or_part(names: list[str]) -> str | None:
    """Tells a whole checkpoint from its parts."""

    def has(pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(name) for name in names)

    if has(_UNET):
        return "Stable-diffusion" if has(_TEXT) or has(_AUTOENCODER) else "diffusion_models"
    for folder, pattern in {
        "VAE": _PLAIN_VAE,
        "text_encoders": _PLAIN_TEXT,
        "VAE-approx": _SMALL_VAE,
    }.items():
        if has(pattern):
            return folder
    return "VAE" if has(_AUTOENCODER) else None

"""What SD Web UI and its kin tell of their environment.

Checkpoints have a SHA-256 once the server has computed it (never with `--no-hashing`), extensions their commits. The
server's own version is told by `/internal/sysinfo`, which is there with the web page only, or by SD.Next's
`/sdapi/v1/version`. Options count that shape pictures and that no request of ours changes.
"""

from __future__ import annotations

import re
from typing import Any, Final

from agent.runtimes.http import Server
from agent.runtimes.telling import ask, entries, python_version, told, word
from contract.environment import MOST_MODELS, Extension, Lock, ModelFile
from contract.task import RuntimeType

_SHAPING: Final = (
    "CLIP_stop_at_last_layers", "comma_padding_backtrack", "emphasis", "enable_quantization", "eta_ancestral",
    "eta_ddim", "eta_noise_seed_delta", "img2img_color_correction", "img2img_fix_steps", "initial_noise_multiplier",
    "pad_cond_uncond", "randn_source", "s_churn", "s_min_uncond", "s_noise", "s_tmin", "sd_noise_schedule", "sd_vae",
    "sdxl_refiner_high_aesthetic_score", "sdxl_refiner_low_aesthetic_score", "sgm_noise_multiplier", "tiling",
    "token_merging_ratio", "upcast_attn", "use_old_emphasis_implementation", "use_old_scheduling",
)  # fmt: skip

_SHA256: Final = re.compile("[0-9a-f]{64}")

_FILES: Final = (
    ("Stable-diffusion", "/sdapi/v1/sd-models", "title"),
    ("VAE", "/sdapi/v1/sd-vae", "model_name"),
    ("Lora", "/sdapi/v1/loras", "name"),
)
"""Kind, route, and the key of the name where the file's own is not told."""


async def read_environment(server: Server) -> Lock:
    """Returns what the server tells.

    Raises:
        RuntimeUnavailableError, TransientError: it does not answer.
    """
    options = await ask(server, "/sdapi/v1/options")
    sysinfo = await ask(server, "/internal/sysinfo?attachment=false")
    version, name = word(told(sysinfo, "Version")), None
    if version is None:
        about = await ask(server, "/sdapi/v1/version")
        name, version = word(told(about, "app")), word(told(about, "hash"))
    torch = word(told(sysinfo, "Torch env info", "torch_version"))
    return Lock(
        type=RuntimeType.SDWEBUI,
        server=name,
        version=version,
        packages={**python_version(told(sysinfo, "Python")), **({"pytorch": torch} if torch else {})},
        extensions=_extensions(await ask(server, "/sdapi/v1/extensions")),
        models=await _models(server),
        settings={key: options[key] for key in _SHAPING if isinstance(options, dict) and _is_plain(options.get(key))},
    )


def _is_plain(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= 200)


def _extensions(document: Any) -> tuple[Extension, ...] | None:
    listed = entries(document)
    if listed is None:
        return None
    return tuple(
        Extension(name=name, version=word(item.get("commit_hash")) or word(item.get("version")))
        for item in listed
        if item.get("enabled") is not False and (name := word(item.get("name"))) is not None
    )


def _digest(value: Any) -> str | None:
    """Returns a digest that the server has computed. sd-server has computed none, and says 64 eights for each model."""
    text = (word(value) or "").lower()
    return f"sha256:{text}" if _SHA256.fullmatch(text) and len(set(text)) > 1 else None


async def _models(server: Server) -> tuple[ModelFile, ...] | None:
    found: list[ModelFile] = []
    known = False
    for folder, path, key in _FILES:
        listed = entries(await ask(server, path))
        known = known or listed is not None
        for item in listed or ():
            file = word(item.get("filename")) or word(item.get("path"))
            name = file.replace("\\", "/").rpartition("/")[2] if file else word(item.get(key))
            if name:
                found.append(ModelFile(folder=folder, name=name, digest=_digest(item.get("sha256"))))
    return tuple(found) if known and len(found) <= MOST_MODELS else None

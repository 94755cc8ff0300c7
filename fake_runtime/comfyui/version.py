"""Which ComfyUI the fake plays, and in what its versions differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

UPLOAD_LIMIT: Final = 104_857_600
"""Bytes of a request's body, as `/features` tells."""

_FOLDERS_OF_2025 = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "hypernetworks", "photomaker",
    "classifiers", "model_patches", "audio_encoders",
)  # fmt: skip
_FOLDERS_OF_2026 = (
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "latent_upscale_models",
    "custom_nodes", "datasets", "hypernetworks", "photomaker", "classifiers", "model_patches", "audio_encoders",
    "background_removal", "frame_interpolation", "geometry_estimation", "optical_flow", "detection",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Version:
    """One version of ComfyUI.

    Attributes:
        name: as `/system_stats` tells it.
        current: whether it does as 0.33 does: job routes, ids that are UUIDs, circles that are named …
        assets: whether it keeps a list of assets by default, as since about 0.38: outputs then have an `id`.
        packages: versions of its companions, in the words of `/system_stats`.
        folders: of models.
    """

    name: str
    current: bool
    assets: bool
    packages: Mapping[str, str]
    folders: tuple[str, ...]

    def features(self) -> dict[str, Any]:
        """What `/features` tells, and a socket that asks."""
        features: dict[str, Any] = {"supports_preview_metadata": True, "max_upload_size": UPLOAD_LIMIT}
        if self.current:
            features |= {
                "supports_model_type_tags": True,
                "extension": {"manager": {"supports_v4": True}},
                "node_replacements": True,
                "assets": self.assets,
            }
        return features

    def system(self) -> dict[str, Any]:
        """What `/system_stats` tells of the software."""
        frontend, templates = (self.packages[f"comfyui-{name}"] for name in ("frontend-package", "workflow-templates"))
        told: dict[str, Any] = {
            "comfyui_version": self.name,
            "required_frontend_version": frontend,
            "installed_templates_version": templates,
            "required_templates_version": templates,
            "pytorch_version": "2.13.0+fake",
        }
        if self.current:
            told["deploy_environment"] = "local-git"
            told["comfy_package_versions"] = [
                {"name": name, "installed": number, "required": number} for name, number in self.packages.items()
            ]
        return told


_PACKAGES = {
    "comfyui-frontend-package": "1.49.6",
    "comfyui-workflow-templates": "0.11.44",
    "comfyui-embedded-docs": "0.5.10",
    "comfy-kitchen": "0.2.31",
    "comfy-aimdo": "0.4.13",
}

VERSIONS: Final[Mapping[str, Version]] = {
    "0.3.64": Version(
        "0.3.64",
        current=False,
        assets=False,
        packages={"comfyui-frontend-package": "1.27.10", "comfyui-workflow-templates": "0.1.94"},
        folders=_FOLDERS_OF_2025,
    ),
    "0.33": Version("0.33.0", current=True, assets=False, packages=_PACKAGES, folders=_FOLDERS_OF_2026),
    "0.38": Version("0.38.0", current=True, assets=True, packages=_PACKAGES, folders=_FOLDERS_OF_2026),
}
"""Those that can be played: 0.3.64 of October 2025, 0.33 of August 2026, and what is known of 0.38 (by its source)."""

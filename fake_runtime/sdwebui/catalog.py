"""The names SD Web UI knows: samplers, upscalers, scripts, checkpoints, settings."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath

# name: (aliases, options), as 1.10.1 lists them; the first takes the place of one that is unknown.
SAMPLERS: dict[str, tuple[list[str], dict[str, str]]] = {
    "DPM++ 2M": (["k_dpmpp_2m"], {"scheduler": "karras"}),
    "DPM++ SDE": (["k_dpmpp_sde"], {"scheduler": "karras", "second_order": "True", "brownian_noise": "True"}),
    "DPM++ 2M SDE": (["k_dpmpp_2m_sde"], {"scheduler": "exponential", "brownian_noise": "True"}),
    "DPM++ 2M SDE Heun": (
        ["k_dpmpp_2m_sde_heun"],
        {"scheduler": "exponential", "brownian_noise": "True", "solver_type": "heun"},
    ),
    "DPM++ 2S a": (["k_dpmpp_2s_a"], {"scheduler": "karras", "uses_ensd": "True", "second_order": "True"}),
    "DPM++ 3M SDE": (
        ["k_dpmpp_3m_sde"],
        {"scheduler": "exponential", "discard_next_to_last_sigma": "True", "brownian_noise": "True"},
    ),
    "Euler a": (["k_euler_a", "k_euler_ancestral"], {"uses_ensd": "True"}),
    "Euler": (["k_euler"], {}),
    "LMS": (["k_lms"], {}),
    "Heun": (["k_heun"], {"second_order": "True"}),
    "DPM2": (["k_dpm_2"], {"scheduler": "karras", "discard_next_to_last_sigma": "True", "second_order": "True"}),
    "DPM2 a": (
        ["k_dpm_2_a"],
        {"scheduler": "karras", "discard_next_to_last_sigma": "True", "uses_ensd": "True", "second_order": "True"},
    ),
    "DPM fast": (["k_dpm_fast"], {"uses_ensd": "True"}),
    "DPM adaptive": (["k_dpm_ad"], {"uses_ensd": "True"}),
    "Restart": (["restart"], {"scheduler": "karras", "second_order": "True"}),
    "DDIM": (["ddim"], {}),
    "DDIM CFG++": (["ddim_cfgpp"], {}),
    "PLMS": (["plms"], {}),
    "UniPC": (["unipc"], {}),
    "LCM": (["k_lcm"], {}),
}


@dataclass(frozen=True, slots=True)
class Scheduler:
    """An entry of GET schedulers."""

    name: str
    label: str
    default_rho: float = -1.0
    need_inner_model: bool = False
    aliases: tuple[str, ...] | None = None


SCHEDULERS = [
    Scheduler("automatic", "Automatic"),
    Scheduler("uniform", "Uniform", need_inner_model=True),
    Scheduler("karras", "Karras", default_rho=7.0),
    Scheduler("exponential", "Exponential"),
    Scheduler("polyexponential", "Polyexponential", default_rho=1.0),
    Scheduler("sgm_uniform", "SGM Uniform", need_inner_model=True, aliases=("SGMUniform",)),
    Scheduler("kl_optimal", "KL Optimal"),
    Scheduler("align_your_steps", "Align Your Steps"),
    Scheduler("simple", "Simple", need_inner_model=True),
    Scheduler("normal", "Normal", need_inner_model=True),
    Scheduler("ddim", "DDIM", need_inner_model=True),
    Scheduler("beta", "Beta", need_inner_model=True),
]


def find_sampler(name: str, scheduler: str | None) -> tuple[str | None, str]:
    """The sampler of this name, None if there is none (an alias is none), and the label of the scheduler.

    Up to 1.8 the scheduler was the end of the sampler's name, as in 'DPM++ 2M Karras', which is still read (upstream
    modules/sd_samplers.py, `get_sampler_and_scheduler`).
    """
    chosen = next((item for item in SCHEDULERS if scheduler in {item.name, item.label}), SCHEDULERS[0])
    for item in SCHEDULERS:
        ending = next((end for end in (item.label, item.name, *(item.aliases or ())) if name.endswith(f" {end}")), None)
        if ending is not None:
            name, chosen = name.removesuffix(f" {ending}"), item
    return (name if name in SAMPLERS else None), chosen.label


def schedule_label(sampler: str, scheduler: str) -> str:
    """The scheduler that runs: of its own a sampler may want another than the plain one."""
    own = SAMPLERS[sampler][1].get("scheduler")
    if scheduler != SCHEDULERS[0].label or own is None:
        return scheduler
    return next(item.label for item in SCHEDULERS if item.name == own)


# name: (model name, scale).
UPSCALERS: dict[str, tuple[str | None, float]] = {
    "None": (None, 4),
    "Lanczos": (None, 4),
    "Nearest": (None, 4),
    "DAT x2": (None, 2),
    "DAT x3": (None, 3),
    "DAT x4": (None, 4),
    "4x-UltraSharp": ("4x-UltraSharp", 4),
    "ESRGAN_4x": ("ESRGAN_4x", 4),
    "ESRGAN_4X": ("ESRGAN_4x", 4),
    "LDSR": (None, 4),
    "R-ESRGAN 4x+": (None, 4),
    "R-ESRGAN 4x+ Anime6B": (None, 4),
    "ScuNET GAN": ("ScuNET GAN", 4),
    "ScuNET PSNR": ("ScuNET PSNR", 4),
    "SwinIR 4x": ("SwinIR 4x", 4),
}
LATENT_UPSCALE_MODES = [
    "Latent",
    "Latent (antialiased)",
    "Latent (bicubic)",
    "Latent (bicubic antialiased)",
    "Latent (nearest)",
    "Latent (nearest-exact)",
]
FACE_RESTORERS = ["CodeFormer", "GFPGAN"]
SELECTABLE_SCRIPTS = ["prompt matrix", "prompts from file or textbox", "x/y/z plot"]
IMAGE_TO_IMAGE_SCRIPTS = [
    "img2img alternative test",
    "loopback",
    "outpainting mk2",
    "poor man's outpainting",
    "prompt matrix",
    "prompts from file or textbox",
    "sd upscale",
    "x/y/z plot",
]
# `scripts` lists one of them with a capital letter; requests may write all of them either way.
ALWAYS_ON_SCRIPTS = ["extra options", "Hypertile", "refiner", "sampler", "seed"]
IMAGE_TO_IMAGE_ALWAYS_ON_SCRIPTS = ["extra options", "Hypertile", "soft inpainting", "refiner", "sampler", "seed"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint file; its hashes follow from its name, as nothing is there to hash."""

    name: str

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def hash(self) -> str:
        """The short hash that infotexts show."""
        return self.sha256[:10]

    @property
    def model_name(self) -> str:
        """The file name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def title(self) -> str:
        """What the web page shows and ``options`` reports."""
        return f"{self.name} [{self.hash}]"

    def describe(self) -> dict[str, str | None]:
        """An entry of GET sd-models."""
        return {
            "title": self.title,
            "model_name": self.model_name,
            "hash": self.hash,
            "sha256": self.sha256,
            "filename": f"/stable-diffusion-webui/models/Stable-diffusion/{self.name}",
            "config": None,
        }


class Checkpoints:
    """The checkpoints on offer, found by any of their aliases."""

    def __init__(self, names: list[str]) -> None:
        self.all = [Checkpoint(name) for name in names]
        self._aliases = {
            alias: checkpoint
            for checkpoint in self.all
            for alias in (
                checkpoint.title,
                checkpoint.name,
                checkpoint.model_name,
                checkpoint.hash,
                checkpoint.sha256,
                f"{checkpoint.model_name} [{checkpoint.hash}]",
            )
        }

    def find(self, alias: object) -> Checkpoint | None:
        """The checkpoint of this title, file name, model name or hash."""
        return self._aliases.get(alias) if isinstance(alias, str) else None


def default_options(checkpoint: Checkpoint) -> dict[str, object]:
    """The flat settings that GET options answers with: those that API callers use."""
    return {
        "samples_save": True,
        "samples_format": "png",
        "grid_save": True,
        "return_grid": True,
        "enable_pnginfo": True,
        "jpeg_quality": 80.0,
        "export_for_4chan": True,
        "img_downscale_threshold": 4.0,
        "target_side_length": 4000.0,
        "disable_mmap_load_safetensors": False,
        "sd_model_checkpoint": checkpoint.title,
        "sd_checkpoint_hash": checkpoint.sha256,
        "sd_checkpoints_limit": 1.0,
        "sd_checkpoint_cache": 0,
        "sd_vae": "Automatic",
        "sd_unet": "Automatic",
        "CLIP_stop_at_last_layers": 1.0,
        "upscaler_for_img2img": None,
        "face_restoration_model": "CodeFormer",
        "code_former_weight": 0.5,
        "face_restoration": False,
        "live_previews_enable": True,
        "show_progress_every_n_steps": 10.0,
        "eta_noise_seed_delta": 0.0,
        "randn_source": "GPU",
        "samples_filename_pattern": "",
        "outdir_samples": "",
        "api_enable_requests": True,
        "api_forbid_local_requests": True,
    }

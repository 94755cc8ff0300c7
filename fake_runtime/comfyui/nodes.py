"""The table of nodes that the fake ComfyUI has: what each takes, gives and costs."""

from collections.abc import Callable, Sequence
from typing import Any

from fake_runtime.comfyui import loading, pictures, sampling, saving
from fake_runtime.comfyui.node_types import Context, Input, NodeClass, Result, Shelf, Values
from fake_runtime.gpu.work import Work

SAMPLERS = [
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "dpm_2", "dpm_2_ancestral",
    "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral", "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_sde_gpu",
    "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu",
    "dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "ddpm", "lcm", "ipndm", "ipndm_v", "deis", "res_multistep",
    "res_multistep_cfg_pp", "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "gradient_estimation",
    "gradient_estimation_cfg_pp", "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc",
    "uni_pc_bh2",
]  # fmt: skip
SCHEDULERS = [
    "simple", "sgm_uniform", "karras", "exponential", "ddim_uniform", "beta", "normal", "linear_quadratic",
    "kl_optimal",
]  # fmt: skip
UPSCALE_METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
MAX_RESOLUTION = 16384


def _pass_on(*keys: str) -> Callable[[Context, Values], Result]:
    def run(_context: Context, values: Values) -> Result:
        return Result(tuple(values[key] for key in keys))

    return run


def _combo(choices: Sequence[str], **config: Any) -> Input:
    options = list(choices)
    return Input("COMBO", config, lambda _: options)


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


def _none(_shelf: Shelf) -> list[str]:
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
        loading.load_checkpoint,
        {"ckpt_name": Input("COMBO", {"tooltip": "The name of the checkpoint (model) to load."}, _checkpoints)},
        category="loaders",
        display_name="Load Checkpoint",
        work=lambda values, _: Work(model=values["ckpt_name"]),
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
        loading.encode_text,
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
        loading.combine,
        {"conditioning_1": _link("CONDITIONING"), "conditioning_2": _link("CONDITIONING")},
        category="conditioning",
        display_name="Conditioning (Combine)",
    ),
    NodeClass(
        "EmptyLatentImage",
        ("LATENT",),
        loading.empty_latent,
        _LATENT_SIZE,
        category="latent",
        display_name="Empty Latent Image",
    ),
    NodeClass(
        "EmptySD3LatentImage",
        ("LATENT",),
        loading.empty_latent,
        _LATENT_SIZE,
        category="latent/sd3",
        python_module="comfy_extras.nodes_sd3",
    ),
    NodeClass(
        "KSampler",
        ("LATENT",),
        sampling.sample,
        {"model": _link("MODEL"), "seed": _SEED, **_SAMPLING, "denoise": _number(1.0, 0.0, 1.0)},
        category="sampling",
        work=sampling.sampling_work,
    ),
    NodeClass(
        "KSamplerAdvanced",
        ("LATENT",),
        sampling.sample,
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
        work=sampling.sampling_work,
    ),
    NodeClass(
        "VAEDecode",
        ("IMAGE",),
        sampling.decode,
        {"samples": _link("LATENT"), "vae": _link("VAE")},
        category="latent",
        display_name="VAE Decode",
        work=sampling.decoding_work,
    ),
    NodeClass(
        "VAEEncode",
        ("LATENT",),
        sampling.encode,
        {"pixels": _link("IMAGE"), "vae": _link("VAE")},
        category="latent",
        display_name="VAE Encode",
    ),
    NodeClass(
        "VAEEncodeForInpaint",
        ("LATENT",),
        sampling.encode,
        {"pixels": _link("IMAGE"), "vae": _link("VAE"), "mask": _link("MASK"), "grow_mask_by": _integer(6, 0, 64)},
        category="latent/inpaint",
        display_name="VAE Encode (for Inpainting)",
    ),
    NodeClass(
        "LatentUpscale",
        ("LATENT",),
        sampling.upscale_latent,
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
        sampling.upscale_latent,
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
        sampling.repeat_latent,
        {"samples": _link("LATENT"), "amount": _integer(1, 1, 64)},
        category="latent/batch",
        display_name="Repeat Latent Batch",
    ),
    NodeClass(
        "LoadImage",
        ("IMAGE", "MASK"),
        loading.load_image,
        {"image": Input("COMBO", {"image_upload": True}, _input_files)},
        display_name="Load Image",
        file_input="image",
    ),
    NodeClass(
        "LoadImageMask",
        ("MASK",),
        loading.load_mask,
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
        pictures.empty_image,
        {
            "width": _integer(512, 1, step=1),
            "height": _integer(512, 1, step=1),
            "batch_size": _integer(1, 1, 4096),
            "color": _integer(0, 0, 0xFFFFFF, step=1, display="color"),
        },
        work=pictures.empty_image_work,
    ),
    NodeClass("ImageInvert", ("IMAGE",), pictures.invert, {"image": _link("IMAGE")}, display_name="Invert Image"),
    NodeClass(
        "ImageBlur",
        ("IMAGE",),
        pictures.blur,
        {"image": _link("IMAGE"), "blur_radius": _integer(1, 1, 31, step=1), "sigma": _number(1.0, 0.1, 10.0, 0.1)},
        category="image/postprocessing",
        python_module="comfy_extras.nodes_post_processing",
        work=pictures.blur_work,
    ),
    NodeClass(
        "ImageScale",
        ("IMAGE",),
        pictures.scale,
        {
            "image": _link("IMAGE"),
            "upscale_method": _combo(UPSCALE_METHODS),
            "width": _integer(512, step=1),
            "height": _integer(512, step=1),
            "crop": _combo(["disabled", "center"]),
        },
        category="image/upscaling",
        display_name="Upscale Image",
        work=pictures.scaling_work,
    ),
    NodeClass(
        "ImageScaleBy",
        ("IMAGE",),
        pictures.scale,
        {"image": _link("IMAGE"), "upscale_method": _combo(UPSCALE_METHODS), "scale_by": _number(1.0, 0.01, 8.0)},
        category="image/upscaling",
        display_name="Upscale Image By",
        work=pictures.scaling_work,
    ),
    NodeClass(
        "ImageUpscaleWithModel",
        ("IMAGE",),
        pictures.upscale_with_model,
        {"upscale_model": _link("UPSCALE_MODEL"), "image": _link("IMAGE")},
        category="image/upscaling",
        display_name="Upscale Image (using Model)",
        python_module="comfy_extras.nodes_upscale_model",
        work=pictures.upscaling_work,
    ),
    NodeClass(
        "ImageBatch",
        ("IMAGE",),
        pictures.batch,
        {"image1": _link("IMAGE"), "image2": _link("IMAGE")},
        display_name="Batch Images",
    ),
    NodeClass(
        "SaveImage",
        (),
        saving.saver("output"),
        {"images": _link("IMAGE"), "filename_prefix": _PREFIX},
        output_node=True,
        display_name="Save Image",
    ),
    NodeClass(
        "PreviewImage",
        (),
        saving.saver("temp"),
        {"images": _link("IMAGE")},
        output_node=True,
        display_name="Preview Image",
    ),
    NodeClass(
        "SaveImageWebsocket",
        (),
        saving.send,
        {"images": _link("IMAGE")},
        output_node=True,
        category="api/image",
        python_module="custom_nodes.websocket_image_save",
    ),
    NodeClass(
        "SaveAnimatedWEBP",
        (),
        saving.save_animation("WEBP", ".webp"),
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
        saving.save_animation("PNG", ".png"),
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
        saving.make_video,
        {"images": _link("IMAGE"), "fps": _number(30.0, 1.0, 120.0, 1.0)},
        {"audio": _link("AUDIO")},
        category="image/video",
        display_name="Create Video",
        python_module="comfy_extras.nodes_video",
    ),
    NodeClass(
        "SaveVideo",
        (),
        saving.save_video,
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
        "EmptyAudio",
        ("AUDIO",),
        saving.empty_audio,
        {"duration": _number(60.0, 0.0, 1000.0), "sample_rate": _integer(44100), "channels": _integer(2, 1, 2)},
        category="audio",
        python_module="comfy_extras.nodes_audio",
    ),
    NodeClass(
        "LoadAudio",
        ("AUDIO",),
        loading.load_audio,
        {"audio": Input("COMBO", {"audio_upload": True}, _input_files)},
        category="audio",
        python_module="comfy_extras.nodes_audio",
        file_input="audio",
    ),
    NodeClass(
        "SaveAudio",
        (),
        saving.save_audio,
        {"audio": _link("AUDIO"), "filename_prefix": _string("audio/ComfyUI")},
        output_node=True,
        category="audio",
        display_name="Save Audio (FLAC)",
        python_module="comfy_extras.nodes_audio",
    ),
    NodeClass(
        "PreviewAny",
        ("STRING",),
        lambda _, values: Result((str(values["source"]),), {"text": [str(values["source"])]}),
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
        loading.load_frames,
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
        saving.combine_video,
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
        saving.show_text,
        {"text": _string(forceInput=True)},
        output_node=True,
        category="utils",
        display_name="Show Text",
        python_module="custom_nodes.ComfyUI-Custom-Scripts",
    ),
)

NODE_CLASSES: dict[str, NodeClass] = {node.name: node for node in _ALL}


def input_config(spec: Input, shelf: Shelf) -> list[Any]:
    """An input as error bodies show it: ``[type or choices, config]``."""
    return [spec.type if spec.choices is None else spec.choices(shelf), dict(spec.config)]


def describe(node: NodeClass, shelf: Shelf) -> dict[str, Any]:
    """An entry of ``object_info``."""
    inputs = {
        # Without a config there is only the type, other than in error bodies.
        kind: {name: input_config(spec, shelf)[: 2 if spec.config else 1] for name, spec in specs.items()}
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

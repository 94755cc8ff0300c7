"""The reference documents' example requests, shown in the OpenAPI document and on the web page."""

from __future__ import annotations

from typing import Any, Final

CAT: Final = "https://huggingface.co/datasets/huggingface/documentation-images/resolve/main/diffusers/cat.png"
CAT_PROMPT: Final = "cat wizard, gandalf, lord of the rings, detailed, fantasy, cute, adorable, Pixar, Disney, 8k"
CHECKPOINT: Final = "v1-5-pruned-emaonly.safetensors"


def _task(task_id: str, runtime: str, tasktype: str, content: dict[str, Any]) -> dict[str, Any]:
    metadata = {"id": task_id, "runtime": runtime, "tasktype": tasktype, "prefix": "output", "context": ""}
    return {"task": {"metadata": metadata, "content": content}}


V1ALPHA2: Final[dict[str, dict[str, Any]]] = {
    "text-to-image": _task(
        "test-t2i",
        "sdruntime",
        "text-to-image",
        {"alwayson_scripts": {}, "prompt": "A dog", "steps": 16, "width": 512, "height": 512},
    ),
    "image-to-image": _task(
        "test-i2i",
        "sdruntime",
        "image-to-image",
        {
            "alwayson_scripts": {},
            "prompt": CAT_PROMPT,
            "steps": 16,
            "width": 512,
            "height": 512,
            "init_images": [CAT],
        },
    ),
    "extra-single-image": _task(
        "test-extra",
        "sdruntime",
        "extra-single-image",
        {
            "resize_mode": 0,
            "show_extras_results": False,
            "gfpgan_visibility": 0,
            "codeformer_visibility": 0,
            "codeformer_weight": 0,
            "upscaling_resize": 4,
            "upscaling_resize_w": 512,
            "upscaling_resize_h": 512,
            "upscaling_crop": False,
            "upscaler_1": "R-ESRGAN 4x+",
            "upscaler_2": "None",
            "extras_upscaler_2_visibility": 0,
            "upscale_first": False,
            "image": CAT,
        },
    ),
    "pipeline": _task(
        "test-pipeline",
        "comfyruntime",
        "pipeline",
        {
            "3": {
                "class_type": "KSampler",
                "inputs": {
                    "cfg": 8,
                    "denoise": 1,
                    "latent_image": ["5", 0],
                    "model": ["4", 0],
                    "negative": ["7", 0],
                    "positive": ["6", 0],
                    "sampler_name": "euler",
                    "scheduler": "normal",
                    "seed": 8566257,
                    "steps": 20,
                },
            },
            "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
            "5": {"class_type": "EmptyLatentImage", "inputs": {"batch_size": 1, "height": 512, "width": 512}},
            "6": {
                "class_type": "CLIPTextEncode",
                "inputs": {"clip": ["4", 1], "text": "masterpiece best quality girl"},
            },
            "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "bad hands"}},
            "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
            "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
        },
    ),
}

V1ALPHA1: Final[dict[str, dict[str, Any]]] = {
    "text-to-image": {
        "alwayson_scripts": {
            "task": "text-to-image",
            "sd_model_checkpoint": CHECKPOINT,
            "id_task": "test-t2i",
            "save_dir": "outputs",
        },
        "prompt": "A dog",
        "steps": 16,
        "width": 512,
        "height": 512,
    },
    "image-to-image": {
        "alwayson_scripts": {
            "task": "image-to-image",
            "image_link": CAT,
            "id_task": "test-i2i",
            "sd_model_checkpoint": CHECKPOINT,
        },
        "prompt": CAT_PROMPT,
        "steps": 16,
        "width": 512,
        "height": 512,
    },
}

TASK: Final[dict[str, dict[str, Any]]] = {
    "text-to-image": {"api": "/sdapi/v1/txt2img", "payload": {"prompt": "your prompt here", "steps": 20}},
}

EXTRA_BATCH: Final[dict[str, Any]] = _task(
    "test-batch",
    "sdruntime",
    "extra-batch-images",
    {"upscaling_resize": 2, "upscaler_1": "R-ESRGAN 4x+", "imageList": [{"data": CAT, "name": "cat.png"}]},
)
"""Not from the reference documents, which name the task type without an example; the fields are SD Web UI's."""


def with_picture(example: Any, address: str) -> Any:
    """Returns an example with the picture at an address, if one is given, instead of the reference documents' own."""
    if isinstance(example, dict):
        return {key: with_picture(value, address) for key, value in example.items()}
    if isinstance(example, list):
        return [with_picture(value, address) for value in example]
    return address if address and example == CAT else example

"""Twenty workflows as people publish them in late 2026, made anew: shapes, nodes and forms, not anybody's file.

Each is a name, the document, and the kinds of files that come back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tests.support.editor import INPUTS, Drawing
from tests.support.workflows import Workflow

CUSTOM: Final[dict[str, Any]] = {
    "VHS_LoadVideo": {
        "input": {
            "required": {
                "video": [["clip.mp4"], {"video_upload": True}],
                "force_rate": ["FLOAT", {"default": 0}],
                "frame_load_cap": ["INT", {"default": 0}],
            }
        },
        "output": ["IMAGE", "INT", "AUDIO", "VHS_VIDEOINFO"],
        "output_name": ["IMAGE", "frame_count", "audio", "video_info"],
    },
    "VHS_VideoCombine": {
        "input": {
            "required": {
                "images": ["IMAGE"],
                "frame_rate": ["FLOAT", {"default": 8}],
                "loop_count": ["INT", {"default": 0}],
                "filename_prefix": ["STRING", {"default": "AnimateDiff"}],
                "format": [["image/gif", "video/h264-mp4", "video/webm"], {}],
                "pingpong": ["BOOLEAN", {"default": False}],
                "save_output": ["BOOLEAN", {"default": True}],
            },
            "optional": {"audio": ["AUDIO"]},
        },
        "output": ["VHS_FILENAMES"],
        "output_node": True,
    },
    "ImageResizeKJv2": {
        "input": {
            "required": {
                "image": ["IMAGE"],
                "width": ["INT", {"default": 512}],
                "height": ["INT", {"default": 512}],
                "upscale_method": [["nearest-exact", "lanczos"]],
                "keep_proportion": [["stretch", "crop"], {"default": "stretch"}],
            }
        },
        "output": ["IMAGE", "INT", "INT"],
    },
    "Power Lora Loader (rgthree)": {
        "input": {"required": {}, "optional": {"model": ["MODEL"], "clip": ["CLIP"]}},
        "output": ["MODEL", "CLIP"],
    },
    "Seed (rgthree)": {
        "input": {"required": {"seed": ["INT", {"default": 0, "min": -(2**40), "max": 2**64 - 1}]}},
        "output": ["INT"],
    },
    "LoadImageFromUrl": {
        "input": {"required": {"url": ["STRING", {"default": ""}]}},
        "output": ["IMAGE", "MASK"],
    },
}
"""Classes of custom nodes that people use most, as their servers tell of them."""

SD15: Final = "v1-5-pruned-emaonly.safetensors"


def every() -> Iterator[tuple[str, Any, set[str]]]:
    """Yields name, document, and endings of the files that come back."""
    yield "text to image, drawn", text_to_image(), {"png"}
    yield "text to image, exported", _exported(), {"png"}
    yield "exported with what the server has written in", _with_nan(), {"png"}
    yield "a request as ComfyUI's own API takes it", {"prompt": _exported(), "client_id": "x"}, {"png"}
    yield "flux in a subgraph", _flux_in_a_subgraph(), {"png"}
    yield "a subgraph in a subgraph", _nested(), {"png"}
    yield "one subgraph twice", _twice(), {"png"}
    yield "upscaler muted, sharpener bypassed", _muted_and_bypassed(), {"png"}
    yield "inpainting with a link", _inpainting(), {"png"}
    yield "set and get nodes", _set_and_get(), {"png"}
    yield "anything everywhere", _everywhere(), {"png"}
    yield "primitives and converted widgets", _primitives(), {"png"}
    yield "loras in a list and a seed of rgthree's", _rgthree(), {"png"}
    yield "wan, text to video", _wan(), {"mp4"}
    yield "video helper suite, frames to a clip", _video_helper_suite(), {"mp4"}
    yield "webm and a still picture", _webm(), {"webm", "png"}
    yield "song", _song(), {"mp3"}
    yield "speech to opus and flac", _sounds(), {"opus", "flac"}
    yield "picture to a model in 3D", _model_3d(), {"glb"}
    yield "a link for a node that opens it itself", _opens_links(), {"png"}


def text_to_image() -> Drawing:
    """The first workflow that anybody has."""
    return _sampled(
        Drawing()
        .node(4, "CheckpointLoaderSimple", SD15)
        .node(6, "CLIPTextEncode", "a fox in the snow", links={"clip": (4, 1)}, title="Positive")
        .node(7, "CLIPTextEncode", "blurry", links={"clip": (4, 1)}, title="Negative")
        .node(5, "EmptyLatentImage", 64, 64, 1)
    ).node(20, "MarkdownNote", "## Read me")


def _sampled(drawing: Drawing, *, model: tuple[int, int] = (4, 0), positive: int = 6) -> Drawing:
    return (
        drawing.node(
            3,
            "KSampler",
            *(717, "randomize", 4, 7.5, "euler", "normal", 1),
            links={"model": model, "positive": (positive, 0), "negative": (7, 0), "latent_image": (5, 0)},
            widgets=("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
        )
        .node(8, "VAEDecode", links={"samples": (3, 0), "vae": (4, 2)}, outputs=("IMAGE",))
        .node(9, "SaveImage", "fox", links={"images": (8, 0)})
    )


def _exported() -> Workflow:
    return (
        Workflow()
        .node("4", "CheckpointLoaderSimple", ckpt_name=SD15)
        .node("6", "CLIPTextEncode", text="a fox", clip=["4", 1])
        .node("5", "EmptySD3LatentImage", width=64, height=64, batch_size=1)
        .node(
            "3",
            "KSampler",
            model=["4", 0],
            positive=["6", 0],
            negative=["6", 0],
            latent_image=["5", 0],
            seed=2**63,
            steps=4,
            cfg=1.0,
            sampler_name="euler",
            scheduler="simple",
            denoise=1.0,
        )
        .node("8", "VAEDecode", samples=["3", 0], vae=["4", 2])
        .node("9", "SaveImage", images=["8", 0], filename_prefix="ComfyUI")
    )


def _with_nan() -> Any:
    nodes = _exported()
    nodes["3"]["is_changed"] = [float("nan")]
    return nodes


def _flux(*, prompt: tuple[int, int] | None = None) -> Drawing:
    links: dict[str, Any] = {"clip": (11, 0)} | ({"text": (*prompt, "STRING")} if prompt else {})
    return (
        Drawing()
        .node(
            12,
            "UNETLoader",
            "flux1-dev.safetensors",
            "default",
            properties={"models": [{"name": "flux1-dev.safetensors"}]},
        )
        .node(11, "DualCLIPLoader", "t5xxl_fp16.safetensors", "clip_l.safetensors", "flux", "default")
        .node(10, "VAELoader", "ae.safetensors")
        .node(6, "CLIPTextEncode", "inside", links=links, widgets=("text",))
        .node(26, "FluxGuidance", 3.5, links={"conditioning": (6, 0)})
        .node(22, "BasicGuider", links={"model": (12, 0), "conditioning": (26, 0)})
        .node(25, "RandomNoise", 219670278747233, "randomize")
        .node(16, "KSamplerSelect", "euler")
        .node(17, "BasicScheduler", "simple", 4, 1, links={"model": (12, 0)})
        .node(27, "EmptySD3LatentImage", 64, 64, 1)
        .node(
            13,
            "SamplerCustomAdvanced",
            links={
                "noise": (25, 0),
                "guider": (22, 0),
                "sampler": (16, 0),
                "sigmas": (17, 0),
                "latent_image": (27, 0),
            },
        )
        .node(8, "VAEDecode", links={"samples": (13, 0), "vae": (10, 0)})
    )


def _flux_in_a_subgraph() -> Drawing:
    return (
        Drawing()
        .subgraph("b1b1", _flux(prompt=(INPUTS, 0)), inputs=("prompt",), outputs={"IMAGE": (8, 0)})
        .node(30, "b1b1", "a fox on the moon")
        .node(9, "SaveImage", "flux", links={"images": (30, 0)})
    )


def _nested() -> Drawing:
    inner = _flux(prompt=(INPUTS, 0))
    middle = (
        Drawing()
        .subgraph("c2c2", inner, inputs=("text",), outputs={"IMAGE": (8, 0)})
        .node(1, "c2c2", "middle", links={"text": (INPUTS, 0)}, widgets=("text",))
        .node(2, "ImageInvert", links={"image": (1, 0)})
    )
    return (
        Drawing()
        .subgraph("c1c1", middle, inputs=("prompt",), outputs={"IMAGE": (2, 0)})
        .node(40, "PrimitiveStringMultiline", "from outside", title="Prompt")
        .node(30, "c1c1", links={"prompt": (40, 0)})
        .node(9, "SaveImage", "nested", links={"images": (30, 0)})
    )


def _twice() -> Drawing:
    return (
        Drawing()
        .subgraph("d1d1", _flux(prompt=(INPUTS, 0)), inputs=("prompt",), outputs={"IMAGE": (8, 0)})
        .node(30, "d1d1", "a fox")
        .node(31, "d1d1", "an owl")
        .node(32, "ImageBatch", links={"image1": (30, 0), "image2": (31, 0)})
        .node(9, "SaveImage", "twice", links={"images": (32, 0)})
    )


def _muted_and_bypassed() -> Drawing:
    drawing = text_to_image()
    drawing["nodes"] = [node for node in drawing["nodes"] if node["id"] != 9]
    return (
        drawing.node(50, "ImageSharpen", 1, 1.0, 1.0, links={"image": (8, 0, "IMAGE")}, outputs=("IMAGE",), mode=4)
        .node(51, "UpscaleModelLoader", "4x.pth", mode=2)
        .node(52, "ImageUpscaleWithModel", links={"upscale_model": (51, 0), "image": (50, 0)}, mode=2)
        .node(53, "SaveImage", "big", links={"images": (52, 0)}, mode=2)
        .node(9, "SaveImage", "sharp", links={"images": (50, 0)})
    )


def _inpainting() -> Drawing:
    drawing = (
        Drawing()
        .node(4, "CheckpointLoaderSimple", SD15)
        .node(6, "CLIPTextEncode", "a door", links={"clip": (4, 1)})
        .node(7, "CLIPTextEncode", "", links={"clip": (4, 1)})
        .node(10, "LoadImage", "LINK", "image", title="Your picture")
        .node(5, "VAEEncodeForInpaint", 6, links={"pixels": (10, 0), "vae": (4, 2), "mask": (10, 1)})
    )
    return _sampled(drawing)


def _set_and_get() -> Drawing:
    drawing = (
        Drawing()
        .node(4, "CheckpointLoaderSimple", SD15)
        .node(60, "SetNode", "model", links={"MODEL": (4, 0)})
        .node(61, "GetNode", "model")
        .node(62, "Reroute", links={"": (61, 0)})
        .node(6, "CLIPTextEncode", "a fox", links={"clip": (4, 1)})
        .node(7, "CLIPTextEncode", "", links={"clip": (4, 1)})
        .node(5, "EmptyLatentImage", 64, 64, 1)
    )
    return _sampled(drawing, model=(62, 0))


def _everywhere() -> Drawing:
    drawing = text_to_image().node(70, "Anything Everywhere", links={"anything": (4, 2)})
    decoder = next(node for node in drawing["nodes"] if node["id"] == 8)
    at = next(number for number, slot in enumerate(decoder["inputs"]) if slot["name"] == "vae")
    decoder["inputs"][at]["link"] = None
    drawing["extra"]["ue_links"] = [{"downstream": 8, "downstream_slot": at, "upstream": "4", "upstream_slot": 2}]
    return drawing


def _primitives() -> Drawing:
    drawing = (
        Drawing()
        .node(4, "CheckpointLoaderSimple", SD15)
        .node(80, "PrimitiveNode", "a fox, a hen", title="Prompt")
        .node(81, "PrimitiveInt", 64, "fixed", title="Width")
        .node(6, "CLIPTextEncode", "old", links={"clip": (4, 1), "text": (80, 0)}, widgets=("text",))
        .node(7, "CLIPTextEncode", "", links={"clip": (4, 1)})
        .node(5, "EmptyLatentImage", 512, 64, 1, links={"width": (81, 0)}, widgets=("width",))
    )
    return _sampled(drawing)


def _rgthree() -> Drawing:
    lora = {"on": True, "lora": "fox.safetensors", "strength": 0.8, "strengthTwo": None}
    drawing = (
        Drawing()
        .node(4, "CheckpointLoaderSimple", SD15)
        .node(
            90,
            "Power Lora Loader (rgthree)",
            *({}, {"type": "PowerLoraLoaderHeaderWidget"}, lora, {}, ""),
            links={"model": (4, 0), "clip": (4, 1)},
        )
        .node(91, "Seed (rgthree)", 123, "", "", "")
        .node(92, "Fast Groups Bypasser (rgthree)")
        .node(93, "Label (rgthree)")
        .node(6, "CLIPTextEncode", "a fox", links={"clip": (90, 1)})
        .node(7, "CLIPTextEncode", "", links={"clip": (90, 1)})
        .node(5, "EmptyLatentImage", 64, 64, 1)
    )
    return _sampled(drawing, model=(90, 0))


def _wan() -> Drawing:
    return (
        Drawing()
        .node(37, "UNETLoader", "wan2.2_t2v.safetensors", "default")
        .node(38, "CLIPLoader", "umt5_xxl.safetensors", "wan", "default")
        .node(39, "VAELoader", "wan_2.1_vae.safetensors")
        .node(48, "ModelSamplingSD3", 8, links={"model": (37, 0)})
        .node(6, "CLIPTextEncode", "a fox runs", links={"clip": (38, 0)})
        .node(7, "CLIPTextEncode", "static", links={"clip": (38, 0)})
        .node(40, "EmptyHunyuanLatentVideo", 64, 64, 5, 1)
        .node(
            3,
            "KSampler",
            *(7, "fixed", 4, 5, "uni_pc", "simple", 1),
            links={"model": (48, 0), "positive": (6, 0), "negative": (7, 0), "latent_image": (40, 0)},
        )
        .node(8, "VAEDecode", links={"samples": (3, 0), "vae": (39, 0)})
        .node(57, "CreateVideo", 16, links={"images": (8, 0)})
        .node(58, "SaveVideo", "video/fox", "auto", "auto", links={"video": (57, 0)})
    )


def _video_helper_suite() -> Drawing:
    drawing = (
        Drawing()
        .node(1, "VHS_LoadVideo")
        .node(2, "ImageResizeKJv2", 64, 64, "lanczos", "crop", links={"image": (1, 0)})
        .node(3, "VHS_VideoCombine", links={"images": (2, 0), "audio": (1, 2)})
    )
    drawing["nodes"][0]["widgets_values"] = {
        "video": "LINK_VIDEO",
        "force_rate": 0,
        "custom_width": 0,
        "custom_height": 0,
        "frame_load_cap": 8,
        "skip_first_frames": 0,
        "select_every_nth": 1,
        "videopreview": {"hidden": False, "paused": False, "params": {}},
    }
    drawing["nodes"][2]["widgets_values"] = {
        "frame_rate": 16,
        "loop_count": 0,
        "filename_prefix": "clip",
        "format": "video/h264-mp4",
        "pix_fmt": "yuv420p",
        "crf": 19,
        "save_metadata": True,
        "pingpong": False,
        "save_output": True,
        "videopreview": {"hidden": False},
    }
    return drawing


def _webm() -> Workflow:
    return (
        Workflow()
        .node("1", "EmptyImage", width=64, height=64, batch_size=4, color=255)
        .node("2", "SaveWEBM", images=["1", 0], filename_prefix="v", codec="vp9", fps=24.0, crf=32.0)
        .node("3", "ImageFromBatch", image=["1", 0], batch_index=0, length=1)
        .node("4", "SaveImage", images=["3", 0], filename_prefix="still")
    )


def _song() -> Drawing:
    return (
        Drawing()
        .node(40, "CheckpointLoaderSimple", "ace_step_v1_3.5b.safetensors")
        .node(14, "TextEncodeAceStepAudio", "folk", "[verse]\na fox", 0.99, links={"clip": (40, 1)})
        .node(44, "ConditioningZeroOut", links={"conditioning": (14, 0)})
        .node(17, "EmptyAceStepLatentAudio", 2, 1)
        .node(
            52,
            "KSampler",
            *(1, "fixed", 4, 5, "euler", "simple", 1),
            links={"model": (40, 0), "positive": (14, 0), "negative": (44, 0), "latent_image": (17, 0)},
        )
        .node(18, "VAEDecodeAudio", links={"samples": (52, 0), "vae": (40, 2)})
        .node(59, "SaveAudioMP3", "audio/fox", "V0", links={"audio": (18, 0)})
    )


def _sounds() -> Workflow:
    return (
        Workflow()
        .node("1", "EmptyAudio", duration=1.0, sample_rate=44100, channels=2)
        .node("2", "SaveAudioOpus", audio=["1", 0], filename_prefix="a", quality="128k")
        .node("3", "SaveAudio", audio=["1", 0], filename_prefix="b")
    )


def _model_3d() -> Drawing:
    return (
        Drawing()
        .node(1, "ImageOnlyCheckpointLoader", "hunyuan_3d_v2.1.safetensors")
        .node(2, "LoadImage", "LINK", "image")
        .node(3, "CLIPVisionEncode", "center", links={"clip_vision": (1, 1), "image": (2, 0)})
        .node(4, "Hunyuan3Dv2Conditioning", links={"clip_vision_output": (3, 0)})
        .node(5, "EmptyLatentHunyuan3Dv2", 3072, 1)
        .node(
            6,
            "KSampler",
            *(3, "fixed", 4, 5, "euler", "normal", 1),
            links={"model": (1, 0), "positive": (4, 0), "negative": (4, 1), "latent_image": (5, 0)},
        )
        .node(7, "VAEDecodeHunyuan3D", 8000, 256, links={"samples": (6, 0), "vae": (1, 2)})
        .node(8, "VoxelToMesh", "surface net", 0.6, links={"voxel": (7, 0)})
        .node(9, "SaveGLB", "mesh/fox", links={"mesh": (8, 0)})
    )


def _opens_links() -> Workflow:
    return (
        Workflow()
        .node("1", "LoadImageFromUrl", url="https://example.com/fox.png")
        .node("2", "SaveImage", images=["1", 0], filename_prefix="x")
    )


def with_link(document: Any, picture: str, video: str) -> Any:
    """Returns a document with addresses, or names of files, in the places of its inputs."""
    text = json.dumps(document).replace('"LINK"', json.dumps(picture)).replace('"LINK_VIDEO"', json.dumps(video))
    return json.loads(text)

"""ComfyUI workflows that tests send, put together node by node."""

from __future__ import annotations

from typing import Any, Final, Self

CHECKPOINT: Final = "v1-5-pruned-emaonly.safetensors"


class Workflow(dict[str, Any]):
    """A ComfyUI prompt that is put together node by node."""

    def node(self, node_id: str, class_type: str, **inputs: Any) -> Self:
        self[node_id] = {"class_type": class_type, "inputs": inputs}
        return self


def plain(prefix: str = "probe", **size: int) -> Workflow:
    """The three nodes of the observed server: an empty image, inverted and saved."""
    return (
        Workflow()
        .node("1", "EmptyImage", **{"width": 64, "height": 48, "batch_size": 1, "color": 3368601, **size})
        .node("2", "ImageInvert", image=["1", 0])
        .node("3", "SaveImage", images=["2", 0], filename_prefix=prefix)
    )


def diffusion(text: str = "a cat", **changes: Any) -> Workflow:
    """The default workflow: checkpoint, prompts, sampler, decoder, saver."""
    values = {"seed": 5, "steps": 4, "width": 64, "height": 64, "batch_size": 1, "checkpoint": CHECKPOINT, **changes}
    return (
        Workflow()
        .node("4", "CheckpointLoaderSimple", ckpt_name=values["checkpoint"])
        .node("6", "CLIPTextEncode", text=text, clip=["4", 1])
        .node("7", "CLIPTextEncode", text="ugly", clip=["4", 1])
        .node(
            "5",
            "EmptyLatentImage",
            width=values["width"],
            height=values["height"],
            batch_size=values["batch_size"],
        )
        .node(
            "3",
            "KSampler",
            model=["4", 0],
            seed=values["seed"],
            steps=values["steps"],
            cfg=8,
            sampler_name="euler",
            scheduler="normal",
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
            denoise=1,
        )
        .node("8", "VAEDecode", samples=["3", 0], vae=["4", 2])
        .node("9", "SaveImage", images=["8", 0], filename_prefix="ComfyUI")
    )

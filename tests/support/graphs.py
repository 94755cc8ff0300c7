"""Graphs for InvokeAI, in the shape in which it takes them."""

from __future__ import annotations

from typing import Any, Self

_NAME = "v1-5-pruned-emaonly.safetensors"
MODEL = {"key": _NAME, "hash": "blake3:0", "name": _NAME, "base": "sd-1", "type": "main"}
"""A checkpoint that the fake server has; its key is its name."""


class Graph(dict[str, Any]):
    """A graph that is put together node by node."""

    def __init__(self) -> None:
        super().__init__(nodes={}, edges=[])

    def node(self, name: str, kind: str, **fields: Any) -> Self:
        self["nodes"][name] = {"id": name, "type": kind, **fields}
        return self

    def edge(self, source: str, field: str, destination: str, into: str | None = None) -> Self:
        self["edges"].append(
            {
                "source": {"node_id": source, "field": field},
                "destination": {"node_id": destination, "field": into or field},
            }
        )
        return self


def plain(width: int = 64, height: int = 48, **fields: Any) -> Graph:
    """One blank image, without a model."""
    return Graph().node("blank", "blank_image", width=width, height=height, **fields)


def resized(**fields: Any) -> Graph:
    """A blank image, marked as intermediate, in another size; fields are of the second node."""
    graph = plain(is_intermediate=True).node("resized", "img_resize", **{"width": 32, "height": 24, **fields})
    return graph.edge("blank", "image", "resized")


def of_image(name: str) -> Graph:
    """An image that is there already, or a link to one, in another size."""
    return Graph().node("resized", "img_resize", image={"image_name": name}, width=32, height=24)


def diffusion(prompt: str = "a dog", *, steps: int = 4, seed: int = 5, size: int = 64) -> Graph:
    """Text to image with a checkpoint of SD 1's kind."""
    graph = Graph().node("model", "main_model_loader", model=MODEL)
    graph.node("positive", "compel", prompt=prompt).node("negative", "compel", prompt="")
    graph.node("noise", "noise", seed=seed, width=size, height=size)
    graph.node("denoise", "denoise_latents", steps=steps).node("image", "l2i")
    for encoder in ("positive", "negative"):
        graph.edge("model", "clip", encoder).edge(encoder, "conditioning", "denoise", f"{encoder}_conditioning")
    graph.edge("model", "unet", "denoise").edge("noise", "noise", "denoise")
    return graph.edge("denoise", "latents", "image").edge("model", "vae", "image")

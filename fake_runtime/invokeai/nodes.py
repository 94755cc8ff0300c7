"""What the nodes do, what each costs, and what it puts out."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from pydantic import BaseModel

from fake_runtime import images
from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.work import Work
from fake_runtime.invokeai import schema
from fake_runtime.invokeai.schema import ImageField, Node
from fake_runtime.invokeai.store import Images

KEPT = 512
"""How many results are remembered: the original's `node_cache_size`."""


class ImageRecordNotFoundException(Exception):  # noqa: N818 - the original's name, which failures show
    """There is no image of that name."""

    def __init__(self) -> None:
        super().__init__("Image record not found")


def identifier(name: str) -> dict[str, str]:
    """How graphs name a checkpoint; its key is its name here."""
    return {"key": name, "hash": "blake3:0", "name": name, "base": "sd-1", "type": "main"}


@dataclass(frozen=True, slots=True)
class _Latents:
    """What stands for latents and encoded texts: all that they came from."""

    recipe: str
    caption: str
    width: int
    height: int
    source: Image.Image | None = None


class Workshop:
    """Runs the nodes of one session.

    Args:
        store: the server's images.
        models: names of the checkpoints on offer.
        kept: what nodes have handed on, by name; the same for all sessions.
        session_id: names what is made.
        graph_json: is written into the images.
    """

    def __init__(
        self, store: Images, models: list[str], kept: dict[str, Any], session_id: str, graph_json: str
    ) -> None:
        self._store = store
        self._models = models
        self._kept = kept
        self._session_id = session_id
        self._graph_json = graph_json
        self._run: Mapping[type[Node], Callable[[Any], BaseModel]] = {
            schema.BlankImage: self._blank,
            schema.ImageResize: self._resize,
            schema.ImageBlur: self._copy,
            schema.SaveImage: self._copy,
            schema.Image: self._pass_on,
            schema.Integer: lambda node: schema.IntegerOutput(value=node.value),
            schema.String: lambda node: schema.StringOutput(value=node.value),
            schema.MainModelLoader: self._load,
            schema.Compel: self._encode_text,
            schema.Noise: self._noise,
            schema.DenoiseLatents: self._sample,
            schema.LatentsToImage: self._decode,
            schema.ImageToLatents: self._encode_image,
        }

    def run(self, node: Node) -> BaseModel:
        """Runs a node.

        Raises:
            Exception: of whatever type the original raises; its name and words are shown.
        """
        return self._run[type(node)](node)

    def work(self, node: Node, latency: LatencyModel) -> Work:
        """What a node is going to cost."""
        match node:
            case schema.BlankImage(width=width, height=height) | schema.ImageResize(width=width, height=height):
                return Work(latency.upscale(max(width, 0), max(height, 0)), memory=memory.upscale_bytes(width, height))
            case schema.ImageBlur(image=ImageField(image_name=name)):
                record = self._store.records.get(name, {"width": 0, "height": 0})
                return Work(latency.upscale(record["width"], record["height"]))
            case schema.DenoiseLatents(noise=noise, latents=latents, unet=schema.UNetField(unet=model)):
                known = self._latents(noise) or self._latents(latents)
                width, height = (known.width, known.height) if known else (512, 512)
                seconds = latency.step(width, height)
                return Work(seconds, node.steps, memory.generation_bytes(width, height, 1), model.name)
            case schema.LatentsToImage():
                return Work(latency.overhead())
        return Work()

    def _blank(self, node: schema.BlankImage) -> BaseModel:
        if node.width < 0 or node.height < 0:
            raise ValueError("Width and height must be >= 0")
        colour = (node.color.r, node.color.g, node.color.b, node.color.a)
        size = (node.width, node.height)
        return self._save(node, Image.new(node.mode, size, colour if node.mode == "RGBA" else colour[:3]))

    def _resize(self, node: schema.ImageResize) -> BaseModel:
        resample = Image.Resampling[node.resample_mode.upper()]
        return self._save(node, self._open(node.image).resize((node.width, node.height), resample))

    def _copy(self, node: schema.ImageBlur | schema.SaveImage) -> BaseModel:
        return self._save(node, self._open(node.image))

    def _pass_on(self, node: schema.Image) -> BaseModel:
        image = self._open(node.image)
        return schema.ImageOutput.model_validate(
            {"image": node.image and node.image.model_dump(), "width": image.width, "height": image.height}
        )

    def _load(self, node: schema.MainModelLoader) -> BaseModel:
        model = node.model
        if model is None or model.key not in self._models:
            raise Exception(f"Unknown model {model and model.key}")  # noqa: TRY002 - so does the original
        part = model.model_dump()
        return schema.ModelLoaderOutput.model_validate(
            {"unet": {"unet": part}, "clip": {"text_encoder": part}, "vae": {"vae": part}}
        )

    def _encode_text(self, node: schema.Compel) -> BaseModel:
        name = self._keep(_Latents(f"{node.clip}|{node.prompt}", node.prompt, 0, 0))
        return schema.ConditioningOutput.model_validate({"conditioning": {"conditioning_name": name}})

    def _noise(self, node: schema.Noise) -> BaseModel:
        name = self._keep(_Latents(f"noise {node.seed}", "", node.width, node.height))
        return schema.NoiseOutput.model_validate(
            {"noise": {"latents_name": name, "seed": node.seed}, "width": node.width, "height": node.height}
        )

    def _sample(self, node: schema.DenoiseLatents) -> BaseModel:
        begun = self._latents(node.latents) or self._latents(node.noise)
        if begun is None:
            raise ValueError("'latents' or 'noise' must be provided!")
        positive, negative = self._text(node.positive_conditioning), self._text(node.negative_conditioning)
        noise = self._latents(node.noise)
        recipe = "|".join(
            str(part)
            for part in (
                node.unet, positive.recipe, negative.recipe, noise and noise.recipe, begun.recipe, node.steps,
                node.cfg_scale, node.scheduler, node.denoising_start, node.denoising_end,
            )
        )  # fmt: skip
        name = self._keep(_Latents(recipe, positive.caption, begun.width, begun.height, begun.source))
        return schema.LatentsOutput.model_validate(
            {"latents": {"latents_name": name}, "width": begun.width, "height": begun.height}
        )

    def _decode(self, node: schema.LatentsToImage) -> BaseModel:
        latents = self._latents(node.latents)
        if latents is None:
            raise FileNotFoundError("No such file or directory")
        picture = images.render(latents.width, latents.height, latents.recipe, latents.caption)
        if latents.source is not None:
            source = latents.source.resize(picture.size)
            picture = Image.blend(source, picture, 0.6) if latents.caption else source
        return self._save(node, picture)

    def _encode_image(self, node: schema.ImageToLatents) -> BaseModel:
        picture = images.rgb(self._open(node.image))
        digest = hashlib.sha256(picture.tobytes()).hexdigest()
        name = self._keep(_Latents(digest, "", picture.width, picture.height, picture))
        return schema.LatentsOutput.model_validate(
            {"latents": {"latents_name": name}, "width": picture.width, "height": picture.height}
        )

    def _keep(self, latents: _Latents) -> str:
        name = hashlib.sha256(f"{latents.recipe}|{latents.width}x{latents.height}".encode()).hexdigest()[:32]
        self._kept[name] = latents
        while len(self._kept) > KEPT:
            self._kept.pop(next(iter(self._kept)))
        return name

    def _latents(self, field: schema.LatentsField | None) -> _Latents | None:
        return None if field is None else self._kept.get(field.latents_name)

    def _text(self, field: schema.ConditioningField | None) -> _Latents:
        found = None if field is None else self._kept.get(field.conditioning_name)
        return found or _Latents("", "", 0, 0)

    def _open(self, field: ImageField | None) -> Image.Image:
        path = None if field is None else self._store.path(field.image_name)
        if path is None:
            raise ImageRecordNotFoundException
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.load()
            return image

    def _save(self, node: Node, picture: Image.Image) -> BaseModel:
        data = images.encode_png(picture, {"invokeai_graph": self._graph_json})
        record = self._store.save(
            data,
            picture.size,
            is_intermediate=node.is_intermediate,
            session_id=self._session_id,
            node_id=node.id,
        )
        return schema.ImageOutput.model_validate(
            {"image": {"image_name": record["image_name"]}, "width": picture.width, "height": picture.height}
        )

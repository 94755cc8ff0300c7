"""What a node of which nothing but its inputs and outputs is known does: passes on, makes up, and writes what fits.

A value that comes in goes out where an output has its type. What has to be made up follows from what went in, so that
equal workflows give equal pictures, and pictures show the prompt.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from fake_runtime import images, media
from fake_runtime.comfyui.node_types import Audio, Conditioning, Context, Input, Latent, Model, Result, Values
from fake_runtime.gpu import memory
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.work import Work

MOST_FRAMES = 8
"""Pictures of a video that are drawn, however long it is."""

LONGEST_SIDE = 2048
"""Pixels; what is larger is drawn smaller."""

DEFAULT_STEPS = 20
"""Of a sampler whose steps are not known."""

_PASSING = {"COMFY_MATCHTYPE_V3", "*"}
_FILES_3D = {"MESH": "glb", "SPLAT": "ply", "FILE_3D": "glb", "VOXEL": "glb"}


@dataclass(frozen=True, slots=True)
class Token:
    """A value of a type that only other nodes look at."""

    type: str
    recipe: str = ""
    caption: str = ""
    steps: int = 0


def runner(
    name: str, outputs: tuple[str, ...], inputs: Mapping[str, Input], *, output_node: bool
) -> Callable[[Context, Values], Result]:
    """Returns what a class does when it runs."""

    def run(context: Context, values: Values) -> Result:
        known = _Known(name, values)
        made = tuple(_output(kind, inputs, values, known) for kind in outputs)
        return Result(made, _show(name, context, values, known) if output_node else None)

    return run


def worker(outputs: tuple[str, ...], inputs: Mapping[str, Input]) -> Callable[[Values, LatencyModel], Work]:
    """Returns what a class costs: loading a model, sampling, or next to nothing."""
    loads = "MODEL" in outputs and not any(spec.type == "MODEL" for spec in inputs.values())
    samples = "LATENT" in outputs and any(spec.type in {"SIGMAS", "MODEL", "GUIDER"} for spec in inputs.values())

    def work(values: Values, latency: LatencyModel) -> Work:
        known = _Known("", values)
        if loads:
            return Work(
                model=next((value for value in values.values() if isinstance(value, str) and "." in value), None)
            )
        latent = known.latent
        if samples and latent is not None:
            # A video's frames share what they need; how much, nobody can tell from the outside.
            return Work(
                steps=known.steps or DEFAULT_STEPS,
                seconds=latency.step(latent.width, latent.height, min(latent.batch_size, MOST_FRAMES)),
                memory=memory.linear_bytes(latent.width, latent.height, 1),
            )
        return Work()

    return work


class _Known:
    """What the inputs of one node tell, whatever they are called."""

    def __init__(self, name: str, values: Values) -> None:
        self._values = values
        self.recipe = hashlib.sha256(
            "|".join([name, *(_digest(key, values[key]) for key in sorted(values))]).encode()
        ).hexdigest()
        self.caption = next(filter(None, (_caption_of(value) for value in values.values())), "")
        self.latent = next((value for value in values.values() if isinstance(value, Latent)), None)
        own = values.get("steps")
        told = (value.steps for value in values.values() if isinstance(value, Token) and value.steps)
        self.steps = min(own, 10_000) if isinstance(own, int) and own > 0 else next(told, 0)

    @property
    def size(self) -> tuple[int, int]:
        """Pixels."""
        if self.latent is not None:
            return self.latent.width, self.latent.height
        picture = next((item for item in _pictures(self._values)), None)
        usual = picture.size if picture is not None else (512, 512)
        return _side(self._values.get("width"), usual[0]), _side(self._values.get("height"), usual[1])

    @property
    def count(self) -> int:
        """Pictures."""
        numbers = [self._values.get(key) for key in ("batch_size", "length", "num_frames", "frames")]
        return max(1, min(MOST_FRAMES, max((n for n in numbers if isinstance(n, int)), default=1)))

    @property
    def pictures(self) -> list[Image.Image]:
        """Those that came in, or else new ones."""
        found = list(_pictures(self._values))
        if found:
            return found
        count = min(self.latent.batch_size, MOST_FRAMES) if self.latent else self.count
        return [images.render(*self.size, f"{self.recipe}|{index}", self.caption) for index in range(count)]


def _output(kind: str, inputs: Mapping[str, Input], values: Values, known: _Known) -> Any:
    """Returns the value of one output."""
    if kind in _PASSING or not kind.isupper():
        return _passed_on(kind, values, known)
    wanted = set(kind.split(","))
    for key, value in values.items():
        spec = inputs.get(key)
        if spec is not None and wanted & set(spec.type.split(",")) and value is not None:
            return replace(value, recipe=known.recipe) if isinstance(value, Latent) else value
    return _made_up(kind, values, known)


def _passed_on(kind: str, values: Values, known: _Known) -> Any:
    """Returns what goes through a node whose output is of any type: of several things that which is switched on."""
    things = {key: value for key, value in values.items() if value is not None}
    if isinstance(things.get("switch"), bool) and len(things) > 1:
        things = {
            key: value for key, value in things.items() if key == ("on_true" if things["switch"] else "on_false")
        } or {key: value for key, value in things.items() if key != "switch"}
    heavy = [value for value in things.values() if not isinstance(value, bool | int | float | str)]
    return next(iter([*heavy, *things.values()]), Token(kind, known.recipe, known.caption))


def _made_up(kind: str, values: Values, known: _Known) -> Any:
    maker = _MAKERS.get(kind)
    return maker(values, known) if maker is not None else Token(kind, known.recipe, known.caption, known.steps)


_MAKERS: Mapping[str, Callable[[Values, _Known], Any]] = {
    "IMAGE": lambda _, known: known.pictures,
    "MASK": lambda _, known: [Image.new("L", known.size, 255)],
    "LATENT": lambda _, known: Latent(*known.size, known.count, known.recipe, known.caption, tuple(known.pictures[:0])),
    "CONDITIONING": lambda _, known: Conditioning(known.caption),
    "MODEL": lambda values, _: Model(_named(values)),
    "CLIP": lambda values, _: Model(_named(values)),
    "VAE": lambda values, _: Model(_named(values)),
    "AUDIO": lambda values, _: Audio(_seconds(values)),
    "VIDEO": lambda values, known: _video(values, known),  # noqa: PLW0108 - it comes below
    "STRING": lambda _, known: known.caption,
    "INT": lambda values, _: next((int(v) for v in values.values() if isinstance(v, int | float)), 1),
    "FLOAT": lambda values, _: next((float(v) for v in values.values() if isinstance(v, int | float)), 1.0),
    "BOOLEAN": lambda values, _: next((v for v in values.values() if isinstance(v, bool)), False),
}


def _show(name: str, context: Context, values: Values, known: _Known) -> dict[str, Any]:
    """Writes what an output node of this name would, and returns how the history names it."""
    saves = not name.startswith(("Preview", "Mask", "Image"))
    prefix = values.get("filename_prefix")
    prefix = prefix if isinstance(prefix, str) and prefix else f"{name}_temp"
    if name.startswith(("Preview3D", "PreviewGaussian", "PreviewPoint")):
        saved = context.files.save("output", "preview3d", ".glb", media.glb())
        return {"result": [saved["filename"], None, None]}
    found: dict[str, Any] = {}
    for key, suffix, data in _files(name, values, known):
        saved = context.files.save("output" if saves else "temp", prefix, suffix, data)
        found.setdefault(key, []).append(saved)
    if name in {"SaveText", "PreviewAny"}:
        found["text"] = [str(values.get("text", values.get("source", "")))]
    return found


def _files(name: str, values: Values, known: _Known) -> Iterator[tuple[str, str, bytes]]:
    """Yields the key in the history, the ending and the content of each file."""
    match name:
        case "SaveText":
            yield "files", f".{values.get('format', 'txt')}", str(values.get("text", "")).encode("utf-8", "replace")
        case "SaveSVGNode":
            yield "images", ".svg", media.svg(*known.size, known.caption)
        case "SaveLatent":
            yield "latents", ".latent", media.safetensors()
        case "SaveWEBM":
            yield "images", ".webm", media.webm()
        case "SaveAudioMP3" | "SaveAudioOpus":
            yield "audio", *((".mp3", media.mp3()) if name.endswith("MP3") else (".opus", media.ogg_opus()))
        case _:
            yield from _by_values(values)


def _by_values(values: Values) -> Iterator[tuple[str, str, bytes]]:
    for value in values.values():
        if isinstance(value, Audio):
            yield "audio", ".flac", media.flac(value.seconds)
        elif isinstance(value, bytes):
            yield "images", ".mp4", value
        elif isinstance(value, list):
            for picture in value:
                if isinstance(picture, Image.Image):
                    yield "images", ".png", images.encode_png(picture)
        elif isinstance(value, Token) and (ending := _ending_3d(value.type)) is not None:
            yield "3d", f".{ending}", media.glb() if ending == "glb" else media.ply()


def _ending_3d(kind: str) -> str | None:
    if kind in _FILES_3D:
        return _FILES_3D[kind]
    if not kind.startswith("FILE_3D"):
        return None
    return "ply" if any(word in kind for word in ("SPLAT", "PLY", "POINT", "SPZ")) else "glb"


def _pictures(values: Values) -> Iterator[Image.Image]:
    for value in values.values():
        if isinstance(value, list):
            yield from (item for item in value if isinstance(item, Image.Image))


def _caption_of(value: Any) -> str:
    match value:
        case Conditioning():
            return value.text
        case Token() | Latent():
            return value.caption
        case str() if " " in value.strip():
            return value
    return ""


def _digest(key: str, value: Any) -> str:
    if isinstance(value, list):
        return f"{key}=" + "+".join(
            hashlib.sha256(i.tobytes()).hexdigest() for i in value if isinstance(i, Image.Image)
        )
    if isinstance(value, bytes):
        return f"{key}={hashlib.sha256(value).hexdigest()}"
    return f"{key}={value}"


def _side(value: Any, usual: int) -> int:
    return max(8, min(LONGEST_SIDE, int(value))) if isinstance(value, int | float) and value > 0 else usual


def _named(values: Values) -> str:
    return next((value for value in values.values() if isinstance(value, str) and "." in value), "a model")


def _seconds(values: Values) -> float:
    value = values.get("seconds", values.get("duration"))
    return min(600.0, float(value)) if isinstance(value, int | float) and value > 0 else 1.0


def _video(values: Values, known: _Known) -> bytes:
    rate = values.get("fps", values.get("frame_rate", 24.0))
    pictures = known.pictures[:MOST_FRAMES]
    return media.mp4(
        [images.encode_jpeg(picture) for picture in pictures], float(rate) if isinstance(rate, int | float) else 24.0
    )

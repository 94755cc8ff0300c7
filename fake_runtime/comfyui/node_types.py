"""What a node is, and what flows along the links between nodes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from fake_runtime.comfyui.files import Files
from fake_runtime.comfyui.version import VERSIONS, Version
from fake_runtime.gpu.latency import LatencyModel
from fake_runtime.gpu.work import Work


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint's diffusion model, text encoder or image codec."""

    name: str


@dataclass(frozen=True, slots=True)
class Conditioning:
    """An encoded prompt."""

    text: str


@dataclass(frozen=True, slots=True)
class Latent:
    """A batch of latents: sizes in pixels, the recipe of its pictures, and the pictures it came from."""

    width: int
    height: int
    batch_size: int
    recipe: str = ""
    caption: str = ""
    source: tuple[Image.Image, ...] = ()


@dataclass(frozen=True, slots=True)
class Audio:
    """A sound."""

    seconds: float


type Pictures = list[Image.Image]
type Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a node; choices make it a combo box, of which there may be new ones at any time."""

    type: str
    config: Mapping[str, Any] = field(default_factory=dict)
    choices: Callable[["Shelf"], list[str]] | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """What a server offers for choice."""

    checkpoints: list[str]
    files: Files
    classes: "Mapping[str, NodeClass]" = field(default_factory=dict)
    any_model: bool = False
    """Whether every model that a workflow names counts as there."""
    version: Version = VERSIONS["0.33"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a node gives: a value per output, and what output nodes show."""

    values: tuple[Any, ...] = ()
    shown: dict[str, Any] | None = None
    sent: tuple[bytes, ...] = ()
    """Pictures (PNG) that go through the client's WebSocket instead of into a file."""
    goes_on: bool = False
    """The node queues the prompt once more, in the client's name, as VHS's meta batches do."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a running node may use beside its inputs."""

    files: Files
    prompt_json: str


def _no_work(_values: Values, _latency: LatencyModel) -> Work:
    return Work()


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A kind of node."""

    name: str
    outputs: tuple[str, ...]
    run: Callable[[Context, Values], Result]
    required: Mapping[str, Input] = field(default_factory=dict)
    optional: Mapping[str, Input] = field(default_factory=dict)
    output_names: tuple[str, ...] = ()
    output_node: bool = False
    category: str = "image"
    display_name: str = ""
    python_module: str = "nodes"
    work: Callable[[Values, LatencyModel], Work] = _no_work
    # The input that names a file in the input folder, which must be there.
    file_input: str | None = None

    def takes(self, name: str) -> bool:
        """Whether there is an input of that name; some have parts: `images.image0`, `format.quality`."""
        return name in self.required or name in self.optional or ("." in name and self.takes(name.rpartition(".")[0]))

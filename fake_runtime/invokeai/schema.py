"""The nodes that this server knows, what they take and give, and what makes a graph of them."""

import uuid
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, field_validator

type Mode = Literal["RGB", "RGBA"]


class ImageField(BaseModel):
    """The name of an image."""

    image_name: str


class ColorField(BaseModel):
    """A colour."""

    r: int = Field(ge=0, le=255)
    g: int = Field(ge=0, le=255)
    b: int = Field(ge=0, le=255)
    a: int = Field(ge=0, le=255)


class ModelIdentifierField(BaseModel):
    """A model as the server names it."""

    key: str
    hash: str
    name: str
    base: str
    type: str


class UNetField(BaseModel):
    """What samples."""

    unet: ModelIdentifierField


class ClipField(BaseModel):
    """What encodes texts."""

    text_encoder: ModelIdentifierField


class VaeField(BaseModel):
    """What encodes and decodes images."""

    vae: ModelIdentifierField


class ConditioningField(BaseModel):
    """The name of an encoded text."""

    conditioning_name: str


class LatentsField(BaseModel):
    """The name of latents."""

    latents_name: str
    seed: int | None = None


class ImageOutput(BaseModel):
    """One image."""

    image: ImageField
    width: int
    height: int
    type: Literal["image_output"] = "image_output"


class IntegerOutput(BaseModel):
    """A number."""

    value: int
    type: Literal["integer_output"] = "integer_output"


class StringOutput(BaseModel):
    """A text."""

    value: str
    type: Literal["string_output"] = "string_output"


class ModelLoaderOutput(BaseModel):
    """The parts of a checkpoint."""

    vae: VaeField
    clip: ClipField
    unet: UNetField
    type: Literal["model_loader_output"] = "model_loader_output"


class ConditioningOutput(BaseModel):
    """An encoded text."""

    conditioning: ConditioningField
    type: Literal["conditioning_output"] = "conditioning_output"


class NoiseOutput(BaseModel):
    """Noise to begin with; sizes in pixels."""

    noise: LatentsField
    width: int
    height: int
    type: Literal["noise_output"] = "noise_output"


class LatentsOutput(BaseModel):
    """Latents; sizes in pixels."""

    latents: LatentsField
    width: int
    height: int
    type: Literal["latents_output"] = "latents_output"


class Node(BaseModel):
    """What all nodes have. Fields that it does not know are dropped, as the original does."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    output: ClassVar[type[BaseModel]]
    connected: ClassVar[frozenset[str]] = frozenset()
    """The fields that only an edge fills."""
    optional: ClassVar[frozenset[str]] = frozenset()
    """The fields that may be empty when it runs."""

    id: str
    is_intermediate: bool = False
    use_cache: bool = True

    @property
    def kind(self) -> str:
        """The name of its type."""
        return str(self.__class__.model_fields["type"].default)


class BlankImage(Node):
    """An image of one colour."""

    output = ImageOutput
    width: int = 512
    height: int = 512
    mode: Mode = "RGB"
    color: ColorField = ColorField(r=0, g=0, b=0, a=255)
    type: Literal["blank_image"] = "blank_image"


class ImageResize(Node):
    """An image in another size."""

    output = ImageOutput
    image: ImageField | None = None
    width: int = Field(512, gt=0)
    height: int = Field(512, gt=0)
    resample_mode: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bicubic"
    type: Literal["img_resize"] = "img_resize"


class ImageBlur(Node):
    """An image, blurred."""

    output = ImageOutput
    image: ImageField | None = None
    radius: float = Field(8.0, ge=0)
    blur_type: Literal["gaussian", "box"] = "gaussian"
    type: Literal["img_blur"] = "img_blur"


class SaveImage(Node):
    """A copy of an image; always made anew."""

    output = ImageOutput
    use_cache: bool = False
    image: ImageField | None = None
    type: Literal["save_image"] = "save_image"


class Image(Node):
    """An image that is there already, passed on."""

    output = ImageOutput
    image: ImageField | None = None
    type: Literal["image"] = "image"


class Integer(Node):
    """A number, passed on."""

    output = IntegerOutput
    value: int = 0
    type: Literal["integer"] = "integer"


class String(Node):
    """A text, passed on."""

    output = StringOutput
    value: str = ""
    type: Literal["string"] = "string"


class MainModelLoader(Node):
    """Names the parts of a checkpoint."""

    output = ModelLoaderOutput
    model: ModelIdentifierField | None = None
    type: Literal["main_model_loader"] = "main_model_loader"


class Compel(Node):
    """Encodes a text."""

    output = ConditioningOutput
    prompt: str = ""
    clip: ClipField | None = None
    type: Literal["compel"] = "compel"


class Noise(Node):
    """Makes noise; sizes in pixels."""

    output = NoiseOutput
    seed: int = Field(0, ge=0, le=4294967295)
    width: int = Field(512, gt=0, multiple_of=8)
    height: int = Field(512, gt=0, multiple_of=8)
    type: Literal["noise"] = "noise"


class DenoiseLatents(Node):
    """Samples."""

    output = LatentsOutput
    connected = frozenset({"positive_conditioning", "negative_conditioning", "unet"})
    optional = frozenset({"noise", "latents"})
    positive_conditioning: ConditioningField | None = None
    negative_conditioning: ConditioningField | None = None
    noise: LatentsField | None = None
    latents: LatentsField | None = None
    unet: UNetField | None = None
    steps: int = Field(10, gt=0)
    cfg_scale: float = 7.5
    denoising_start: float = Field(0.0, ge=0, le=1)
    denoising_end: float = Field(1.0, ge=0, le=1)
    scheduler: str = "euler"
    type: Literal["denoise_latents"] = "denoise_latents"


class LatentsToImage(Node):
    """Decodes latents."""

    output = ImageOutput
    connected = frozenset({"latents", "vae"})
    latents: LatentsField | None = None
    vae: VaeField | None = None
    type: Literal["l2i"] = "l2i"


class ImageToLatents(Node):
    """Encodes an image."""

    output = LatentsOutput
    connected = frozenset({"vae"})
    image: ImageField | None = None
    vae: VaeField | None = None
    type: Literal["i2l"] = "i2l"


AnyNode = Annotated[
    BlankImage
    | ImageResize
    | ImageBlur
    | SaveImage
    | Image
    | Integer
    | String
    | MainModelLoader
    | Compel
    | Noise
    | DenoiseLatents
    | LatentsToImage
    | ImageToLatents,
    Field(discriminator="type"),
]


class MissingInputException(Exception):  # noqa: N818 - the original's name, which failures show
    """A field has neither a value nor an edge."""

    def __init__(self, kind: str, field: str) -> None:
        super().__init__(f"Node {kind} missing value or connection for field {field}")


class RequiredConnectionException(Exception):  # noqa: N818 - the original's name
    """A field has no edge, and takes no value."""

    def __init__(self, kind: str, field: str) -> None:
        super().__init__(f"Node {kind} missing connections for field {field}")


def check_inputs(node: Node) -> None:
    """Refuses a node that lacks an input, right before it runs.

    Raises:
        MissingInputException, RequiredConnectionException: says which.
    """
    for name in type(node).model_fields:
        if getattr(node, name) is not None or name in node.optional:
            continue
        if name in node.connected:
            raise RequiredConnectionException(node.kind, name)
        raise MissingInputException(node.kind, name)


class EdgeConnection(BaseModel):
    """One end of an edge."""

    node_id: str
    field: str


class Edge(BaseModel):
    """Where a field's value comes from."""

    source: EdgeConnection
    destination: EdgeConnection


class Graph(BaseModel):
    """Nodes and edges."""

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    nodes: dict[str, AnyNode] = {}
    edges: list[Edge] = []

    def order(self) -> list[str]:
        """The nodes, each after those that it waits for.

        Raises:
            ValueError: they wait for each other.
        """
        waits = {
            name: {edge.source.node_id for edge in self.edges if edge.destination.node_id == name}
            for name in self.nodes
        }
        order: list[str] = []
        while len(order) < len(waits):
            ready = next((name for name in waits if name not in order and waits[name] <= set(order)), None)
            if ready is None:
                raise ValueError("Graph contains cycles")
            order.append(ready)
        return order

    def validate_self(self) -> None:
        """Checks what the types of single fields do not, in the original's order.

        Raises:
            ValueError: says what is wrong, in the original's words.
        """
        for name, node in self.nodes.items():
            if name != node.id:
                raise ValueError(f"Node ids must match, got {name} and {node.id}")
        for edge in self.edges:
            self._validate_ends(edge)
        self.order()
        for edge in self.edges:
            source, destination = edge.source, edge.destination
            given = _kind(self.nodes[source.node_id].output.model_fields[source.field].annotation)
            taken = _kind(type(self.nodes[destination.node_id]).model_fields[destination.field].annotation)
            if given is not taken and (given, taken) != (int, float):
                raise ValueError(
                    f"Edge source and target types do not match ({source.node_id}.{source.field} -> "
                    f"{destination.node_id}.{destination.field})"
                )

    def _validate_ends(self, edge: Edge) -> None:
        for side, end in (("source", edge.source), ("destination", edge.destination)):
            if end.node_id not in self.nodes:
                raise ValueError(f"Edge {side} node {end.node_id} does not exist in the graph")
        for side, end, fields in (
            ("source", edge.source, self.nodes[edge.source.node_id].output.model_fields),
            ("destination", edge.destination, type(self.nodes[edge.destination.node_id]).model_fields),
        ):
            if end.field not in fields:
                raise ValueError(f"Edge {side} field {end.field} does not exist in node {end.node_id}")


class Batch(BaseModel):
    """What is put into the queue: one graph, `runs` times."""

    batch_id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    origin: str | None = None
    destination: str | None = None
    graph: Graph
    workflow: dict[str, Any] | None = None
    runs: int = Field(1, ge=1)

    @field_validator("graph")
    @classmethod
    def _validate_graph(cls, graph: Graph) -> Graph:
        graph.validate_self()
        return graph


class EnqueueRequest(BaseModel):
    """The body of `enqueue_batch`."""

    batch: Batch
    prepend: bool = False


class CancelRequest(BaseModel):
    """The body of `cancel_by_batch_ids`."""

    batch_ids: list[str]


class ImageNames(BaseModel):
    """The body of requests about images."""

    image_names: list[str]


def filled(node: Node, inputs: Mapping[str, Any]) -> Node:
    """Returns a node with the values that its edges bring.

    Raises:
        pydantic.ValidationError: one of them is out of the field's range.
    """
    return type(node).model_validate({**node.model_dump(), **inputs})


def _kind(annotation: Any) -> Any:
    """What a field holds, whether it may be empty or not."""
    if get_origin(annotation) in {Union, UnionType}:
        return next(item for item in get_args(annotation) if item is not NoneType)
    return annotation

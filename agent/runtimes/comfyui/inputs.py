"""Decides which values of a workflow are files that the server is to get: what it says itself of its nodes' inputs.

`GET /object_info/{class}` tells of each input whether files are uploaded for it (`image_upload` and its kin) or one of
several names is chosen. A plain STRING stays as it is, whatever it looks like: a prompt, a note, or a link that the
node opens by itself.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote

from agent.errors import PermanentError
from agent.inputs.links import is_link
from agent.media import SIGNATURE_SIZE, media_type_of
from contract.inputs import NO_RULES, InputRules, Path


class Takes(StrEnum):
    """What an input takes."""

    PICTURE = "picture"
    FILE = "file"
    """Of any kind: the node looks at it."""
    MODEL_3D = "3D model"
    """A file in a folder of its own: Load3D lists no other."""
    CHOICE = "choice"
    """One of several names: of files in the input folder, of models, or of settings. No link is one of them."""
    OUTPUT_PICTURE = "output picture"
    """A picture that is looked for in the output folder, unless its name says otherwise."""
    VIEW = "view of a 3D model"
    """An object of what Load3D's view has drawn: its pictures and its film are files in the input folder."""
    WORDS = "words"


FOLDERS: Final = {Takes.MODEL_3D: "3d/", Takes.CHOICE: ""}
"""Where in the input folder the server looks for a file; `UPLOAD_FOLDER` for all else. What is chosen from a list is
checked against it, and nodes list the files at the top alone (`LoadLatent`), or in `3d` (`Load3D`)."""

UPLOAD_FOLDER: Final = "darkroom/"
"""The folder within the server's input folder that holds what tasks bring."""

_VIEW: Final[Mapping[str, Takes]] = {
    "image": Takes.PICTURE,
    "mask": Takes.PICTURE,
    "normal": Takes.PICTURE,
    "recording": Takes.FILE,
}
"""What an object of the type LOAD_3D names (comfy_extras/nodes_load_3d.py)."""

type Candidate = tuple[str, Path, str]
"""Node, path within its inputs (the input's name, and the key within its value where that is an object), value."""

type Takings = Mapping[str, Takes]
"""The inputs of one class, by name; an absent one takes words."""

KNOWN: Final[Mapping[str, Takings]] = {
    "LoadImage": {"image": Takes.PICTURE},
    "LoadImageMask": {"image": Takes.PICTURE},
    "LoadAudio": {"audio": Takes.FILE},
    "LoadVideo": {"file": Takes.FILE},
    "VHS_LoadVideo": {"video": Takes.FILE},
    "CLIPTextEncode": {},
}
"""Classes that need no question: what most workflows load with, so that a server that is still starting is not waited
for. As ComfyUI 0.3.64 to 0.33 and ComfyUI-VideoHelperSuite 1.7 tell of them."""

MOST_CLASSES: Final = 100
"""Classes of one workflow of which the server is asked."""

_MODELS: Final = re.compile(r"\.(?:safetensors|sft|ckpt|pth?|bin|gguf|onnx|pkl|engine)$", re.IGNORECASE)
_DATA: Final = re.compile(r"\s*data:(?P<type>[\w.+-]*(?:/[\w.+-]*)?)(?:;[\w=.+-]+)*;base64,", re.IGNORECASE)
"""The head of a data URI (RFC 2397). No character of it can be read in two ways, so that a text that only begins like
one costs one look at it: a search that has to try them all holds up the whole agent."""

_LONGEST_HEAD: Final = 1000
"""Characters of the head of a data URI."""

_SHORTEST_BASE64: Final = 64
"""Characters; a file's name is shorter, or is no base64 of a picture."""


@dataclass(frozen=True)
class FileInput:
    """A value of a workflow that stands for a file."""

    node: str
    path: Path
    """The node's input, and the key within it if it is an object."""
    value: str
    """A link, a data URI, or base64."""
    takes: Takes

    @property
    def name(self) -> str:
        """Of the input, for people."""
        return ".".join(self.path)

    @property
    def folder(self) -> str:
        """Where it belongs, with a slash at its end if it is no empty one."""
        return FOLDERS.get(self.takes, UPLOAD_FOLDER)

    @property
    def is_link(self) -> bool:
        """Whether it has to be fetched."""
        return is_link(self.value)


def read_inputs(info: Any) -> Takings:
    """Returns what the inputs of a class take, from its entry in `/object_info`; what is garbled there takes words."""
    found: dict[str, Takes] = {}
    groups = info.get("input") if isinstance(info, dict) else None
    for group in groups.values() if isinstance(groups, dict) else ():
        found |= _read_group(group, "")
    return found


def _read_group(group: Any, prefix: str) -> dict[str, Takes]:
    found: dict[str, Takes] = {}
    for name, spec in group.items() if isinstance(group, dict) else ():
        if not isinstance(spec, list) or not spec:
            continue
        config = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
        found[prefix + name] = _takes(spec[0], config)
        options = config.get("options")
        for option in options if isinstance(options, list) else ():
            # COMFY_DYNAMICCOMBO_V3: each choice brings inputs of its own, named `{input}.{its own name}` in a prompt.
            inner = option.get("inputs") if isinstance(option, dict) else None
            for inner_group in inner.values() if isinstance(inner, dict) else ():
                found |= _read_group(inner_group, f"{prefix}{name}.")
    return found


def _takes(kind: Any, config: Mapping[str, Any]) -> Takes:
    if any(name.endswith("_upload") and value for name, value in config.items()):
        if config.get("image_upload"):
            return Takes.OUTPUT_PICTURE if config.get("image_folder") == "output" else Takes.PICTURE
        return Takes.MODEL_3D if config.get("file_upload") else Takes.FILE
    if kind == "LOAD_3D":
        return Takes.VIEW
    return Takes.CHOICE if isinstance(kind, list) or kind == "COMBO" else Takes.WORDS


def candidates(nodes: Mapping[str, Any]) -> list[Candidate]:
    """Returns each value that could stand for a file: links, data URIs, base64 of pictures."""
    return [
        (node_id, path, value)
        for node_id, node in nodes.items()
        for path, value in _values(node.get("inputs", {}))
        if isinstance(value, str) and (is_link(value) or _data_head(value) is not None or _is_base64(value))
    ]


def _values(inputs: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    for name, value in inputs.items():
        if isinstance(value, dict):
            yield from (((name, key), inner) for key, inner in value.items())
        else:
            yield (name,), value


def classes_to_ask(nodes: Mapping[str, Any], found: Iterable[Candidate]) -> set[str]:
    """Returns the classes of which the server must tell before it is known which of the values are files.

    Raises:
        PermanentError: they are too many, each of them a question to the server.
    """
    classes = {nodes[node_id]["class_type"] for node_id, _, _ in found} - KNOWN.keys()
    if len(classes) > MOST_CLASSES:
        raise PermanentError(
            "invalid_workflow",
            f"nodes of {len(classes)} different classes hold links or files; a workflow may have {MOST_CLASSES} such",
        )
    return classes


def file_inputs(
    nodes: Mapping[str, Any],
    found: Iterable[Candidate],
    told: Mapping[str, Takings],
    rules: InputRules = NO_RULES,
) -> list[FileInput]:
    """Returns the values that stand for files.

    Args:
        nodes: the workflow.
        found: what `candidates` found in it.
        told: what the server tells of classes.
        rules: what the request says of single values; of each path counts what is not the wrapping around the workflow.

    Raises:
        PermanentError: a model is named by a link.
    """
    fetched, kept = ({_in_nodes(path) for path in paths} for paths in (rules.fetched, rules.kept))
    return list(_file_inputs(nodes, found, told, fetched, kept))


def _in_nodes(path: Path) -> Path:
    return path[1:] if path[:1] == ("prompt",) and path[2:3] == ("inputs",) else path


def _file_inputs(
    nodes: Mapping[str, Any],
    found: Iterable[Candidate],
    told: Mapping[str, Takings],
    fetched: AbstractSet[Path],
    kept: AbstractSet[Path],
) -> Iterator[FileInput]:
    for node_id, path, value in found:
        class_type = nodes[node_id]["class_type"]
        takes = _takes_of(KNOWN.get(class_type, told.get(class_type, {})), path)
        place = (node_id, "inputs", *path)
        if takes is Takes.WORDS and place in fetched:
            takes = Takes.FILE
        if takes is Takes.WORDS or place in kept:
            continue
        if takes is Takes.CHOICE and is_link(value) and _MODELS.search(_path_of(value)):
            raise PermanentError(
                "input_refused",
                f"node {node_id!r} ({class_type}): input {'.'.join(path)!r} names a model by a link; models are not "
                "fetched for a task: put the file into the models folder or the model bucket (docs/models.md), and "
                "name it",
            )
        yield FileInput(node_id, path, value, takes)


def _takes_of(takings: Takings, path: Path) -> Takes:
    takes = takings.get(path[0], Takes.WORDS)
    if len(path) == 1:
        return Takes.WORDS if takes is Takes.VIEW else takes
    return _VIEW.get(path[1], Takes.WORDS) if takes is Takes.VIEW else Takes.WORDS


def decode(value: FileInput) -> tuple[str, bytes]:
    """Returns a name (of which only the ending counts) and the bytes of a file that is in the workflow itself.

    Raises:
        PermanentError: it is no base64, or no picture where one is asked for.
    """
    head = _data_head(value.value)
    ending = head["type"].rpartition("/")[2].partition("+")[0] if head else ""
    try:
        data = base64.b64decode(value.value[head.end() if head else 0 :], validate=False)
    except binascii.Error as error:
        raise PermanentError(
            "invalid_workflow", f"node {value.node!r}: input {value.name!r} is no whole base64: {error}"
        ) from error
    if value.takes in {Takes.PICTURE, Takes.OUTPUT_PICTURE} and media_type_of(data[:SIGNATURE_SIZE]) is None:
        raise PermanentError(
            "input_wrong_type",
            f"node {value.node!r}: input {value.name!r} holds no image, video or sound (by its first bytes)",
        )
    return f"file.{ending}", data


def name_of(link: str) -> str:
    """Returns the file name at the end of a link, without its query; empty when there is none."""
    return _path_of(link).rpartition("/")[2]


def _path_of(link: str) -> str:
    return unquote(re.split(r"[?#]", link.strip(), maxsplit=1)[0])


def _data_head(text: str) -> re.Match[str] | None:
    return _DATA.match(text, 0, _LONGEST_HEAD)


def _is_base64(text: str) -> bool:
    """Tells whether a text is a picture, video or sound in base64, by its first bytes."""
    if len(text) < _SHORTEST_BASE64:
        return False
    try:
        return media_type_of(base64.b64decode(text[: _SHORTEST_BASE64 // 4 * 4], validate=True)) is not None
    except ValueError:
        return False

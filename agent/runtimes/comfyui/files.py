"""Finds the files among the outputs of a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from agent.runtimes.downloads import RemoteFile

_GIVEN_ONCE: Final = re.compile(r"_(?:\d{5,}_?|[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[^.]+$")
"""How names end that a server gives once: with a counter, as `get_save_image_path` makes it and most nodes use it, or
with a UUID, as previews in 3D have it."""

_RESULT: Final = "result"
"""The key under which Preview3D and its kin name the file that they show, as a bare path within the output folder."""

_MODEL: Final = re.compile(
    r"[^\x00-\x1f]{1,300}\.(?:glb|gltf|obj|fbx|stl|ply|splat|ksplat|spz|usdz)(?P<folder> \[(?:output|input|temp)\])?",
    re.IGNORECASE,
)

_UNFINISHED: Final = "unfinished_batch"
"""What VHS_VideoCombine puts out when a meta batch goes on in another prompt."""


@dataclass(frozen=True)
class FileReference:
    """One file, as `/view` names it."""

    filename: str
    subfolder: str
    type: str
    """The folder: `output`, `temp` or `input`."""

    @property
    def is_unique(self) -> bool:
        """Whether no other run writes to a file of this name."""
        return _GIVEN_ONCE.search(self.filename) is not None

    @property
    def remote(self) -> RemoteFile:
        """Where the server hands it out."""
        return RemoteFile(self.filename, "/view", asdict(self))


def has_output(outputs: Mapping[str, Any]) -> bool:
    """Tells whether any node put out anything, be it a file or a text; an empty list of images is nothing."""
    return any(
        any(items for key, items in output.items() if key != _UNFINISHED)
        for output in outputs.values()
        if isinstance(output, dict)
    )


def is_unfinished(outputs: Mapping[str, Any]) -> bool:
    """Tells whether a node has put another prompt into the queue, which goes on where this one ended."""
    return any(output.get(_UNFINISHED) for output in outputs.values() if isinstance(output, dict))


def output_files(outputs: Mapping[str, Any]) -> list[FileReference]:
    """Returns the files that a prompt made, each once, in the order of the outputs.

    Every kind counts (`images`, `gifs`, `videos`, `audio`, whatever a node calls it). Previews are left out when there
    is anything that was saved.
    """
    found: dict[FileReference, None] = {}
    for output in outputs.values():
        for key, items in output.items() if isinstance(output, dict) else ():
            for item in items if isinstance(items, list) else ():
                if (reference := _reference(key, item)) is not None:
                    found.setdefault(reference)
    saved = [reference for reference in found if reference.type == "output"]
    return saved or list(found)


def _reference(key: str, item: Any) -> FileReference | None:
    """Returns the file that one item of a node's output names; None when it names none."""
    if isinstance(item, dict):
        name = item.get("filename")
        if not isinstance(name, str) or not name:
            return None
        return FileReference(name, str(item.get("subfolder") or ""), str(item.get("type") or "output"))
    if key != _RESULT or not isinstance(item, str) or (named := _MODEL.fullmatch(item)) is None:
        return None
    folder = named["folder"] or " [output]"
    subfolder, _, name = item.removesuffix(named["folder"] or "").replace("\\", "/").rpartition("/")
    return FileReference(name, subfolder, folder[2:-1])

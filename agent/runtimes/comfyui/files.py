"""Finds the files among the outputs of a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from agent.runtimes.downloads import RemoteFile

_COUNTED: Final = re.compile(r"_\d{5,}_?\.[^.]+$")
"""How names end that a server gives once: with a counter, as `get_save_image_path` makes it and most nodes use it."""


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
        return _COUNTED.search(self.filename) is not None

    @property
    def remote(self) -> RemoteFile:
        """Where the server hands it out."""
        return RemoteFile(self.filename, "/view", asdict(self))


def has_output(outputs: Mapping[str, Any]) -> bool:
    """Tells whether any node put out anything, be it a file or a text; an empty list of images is nothing."""
    return any(any(output.values()) for output in outputs.values() if isinstance(output, dict))


def output_files(outputs: Mapping[str, Any]) -> list[FileReference]:
    """Returns the files that a prompt made, each once, in the order of the outputs.

    Every kind counts (`images`, `gifs`, `videos`, `audio`, whatever a node calls it). Previews are left out when there
    is anything that was saved.
    """
    found: dict[FileReference, None] = {}
    for output in outputs.values():
        for items in output.values() if isinstance(output, dict) else ():
            for item in items if isinstance(items, list) else ():
                if isinstance(item, dict) and isinstance(item.get("filename"), str) and item["filename"]:
                    reference = FileReference(
                        item["filename"], str(item.get("subfolder") or ""), str(item.get("type") or "output")
                    )
                    found.setdefault(reference)
    saved = [reference for reference in found if reference.type == "output"]
    return saved or list(found)

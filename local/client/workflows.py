"""Reads the file that is to be submitted, and has the API make a task of a workflow in any form."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from darkroom import Darkroom, RefusedError
from local.client.changes import is_editors, is_workflow

_MEDIA: Final = (b"\x89PNG", b"RIFF", b"\xff\xd8\xff", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\x1aE\xdf\xa3")
_MP4: Final = b"ftyp"


class FileError(Exception):
    """A file that cannot be read; the text names it."""


@dataclass
class Converted:
    """A workflow that can be submitted."""

    content: dict[str, Any]
    fields: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_file(file: Path) -> tuple[bytes, Any]:
    """Returns the bytes of a file, and its document if it is JSON; None for a picture, video or sound.

    Args:
        file: `-` reads standard input.

    Raises:
        FileError: it cannot be read, or is neither.
    """
    name = "standard input" if str(file) == "-" else str(file)
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        if data.startswith(_MEDIA) or data[4:8] == _MP4:
            return data, None
        return data, json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise FileError(f"{name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{name} is neither UTF-8 text nor a picture, video or sound that ComfyUI saves") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise FileError(f"{name} is not JSON: {error.msg} in {place}") from error
    except RecursionError as error:
        raise FileError(f"{name} is nested too deeply") from error


def is_any_workflow(document: Any) -> bool:
    """Tells whether what `read_file` found is a workflow, not a request in one of the API's dialects."""
    return document is None or is_workflow(document) or is_editors(document) or _is_comfyuis_request(document)


def _is_comfyuis_request(document: Any) -> bool:
    return isinstance(document, dict) and is_workflow(document.get("prompt"))


def convert(client: Darkroom, runtime: str, data: bytes, document: Any) -> Converted:
    """Returns a workflow in API form, and what the runtime says to it.

    Args:
        client: the API.
        runtime: whose nodes count.
        data: the file.
        document: what `read_file` found in it.

    Raises:
        RefusedError: it holds no workflow, or the API cannot convert it. One in API form passes all the same.
    """
    try:
        answer = client.convert(data, runtime=runtime)
    except RefusedError:
        if not is_workflow(document):
            raise
        return Converted(document)
    return Converted(answer["content"], answer["fields"], answer["warnings"])

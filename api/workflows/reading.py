"""Reads a workflow in any of the forms in which people have one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from api.workflows.containers import has_parameters, is_text, texts_of
from api.workflows.errors import WorkflowError
from contract.bounds import ExcessError, check_bounds
from contract.documents import decode

_WRAPPED: Final = ("prompt", "output", "workflow")
"""Keys under which a workflow lies in a larger document: a request to `POST /prompt`, the metadata of a file, what the
editor's own code calls `graphToPrompt`."""

_BARE_NAN: Final = re.compile(rb"-?\bNaN\b|-?\bInfinity\b")


@dataclass
class Workflow:
    """What was found."""

    api: dict[str, Any] | None = None
    """Nodes by their ids, as ComfyUI runs them."""
    editor: dict[str, Any] | None = None
    """The same as the editor saves it, or another's titles and origins."""
    notes: list[str] = field(default_factory=list)


def read_workflow(data: bytes) -> Workflow:
    """Returns the workflow in a file.

    Args:
        data: JSON in API form, bare or as a request to ComfyUI; JSON as the editor saves it; or a picture, video or
            sound that carries either.

    Raises:
        WorkflowError: it holds none.
    """
    if is_text(data):
        found = _found([read_json(data, "the file")])
        if found is None:
            raise WorkflowError(
                "this JSON is no ComfyUI workflow: expected nodes by their ids, each with a class_type (Export "
                "(API)), or "
                'the editor\'s form with "nodes" and "links"'
            )
        return found
    found = _found(_documents(data))
    if found is None and has_parameters(data):
        raise WorkflowError(
            "this picture carries the parameters of SD Web UI, no ComfyUI workflow; its prompt goes to a runtime of "
            "type sdwebui"
        )
    if found is None:
        raise WorkflowError(
            "this file carries no ComfyUI workflow: it must be JSON, or a PNG, WebP, JPEG, MP4, WebM, FLAC, Opus or "
            "MP3 as ComfyUI saves it; metadata is lost where a site or a tool has saved it again"
        )
    return found


def read_json(text: bytes, what: str) -> Any:
    """Reads JSON, as Python writes it too: ComfyUI writes NaN as a node's `is_changed`. NaN becomes null.

    Raises:
        WorkflowError: it is none, or beyond the bounds of `contract.bounds`.
    """
    text = text.removeprefix(b"\xef\xbb\xbf")
    try:
        check_bounds(text)
        try:
            return decode(text)
        except orjson.JSONDecodeError:
            if not _BARE_NAN.search(text):
                raise
            return json.loads(text, parse_constant=lambda _: None)
    except orjson.JSONDecodeError as error:
        raise WorkflowError(f"{what} is not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except ExcessError as error:
        raise WorkflowError(f"{what} is refused: {error}") from error
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"{what} is not JSON") from error


def is_api(document: Any) -> bool:
    """Tells whether a document is a workflow in API form."""
    return (
        isinstance(document, dict)
        and bool(document)
        and all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in document.values())
    )


def is_editors(document: Any) -> bool:
    """Tells whether a document is a workflow as the editor saves it."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list)


def _documents(data: bytes) -> Iterator[Any]:
    for text in texts_of(data):
        try:
            yield read_json(text, "a text in the file")
        except WorkflowError as error:
            # Of other tools there may be any text beside the workflow.
            if "refused" in str(error):
                raise


def _found(documents: Iterable[Any]) -> Workflow | None:
    """Returns the first of each form; None when there is none."""
    found = Workflow()
    for document in documents:
        for form in _forms(document):
            if is_editors(form):
                found.editor = found.editor or form
            elif is_api(form):
                found.api = found.api or _without_noise(form)
            if found.api is not None and found.editor is not None:
                return found
    return found if found.api is not None or found.editor is not None else None


def _forms(document: Any) -> Iterator[Any]:
    yield document
    if is_editors(document) or is_api(document) or not isinstance(document, dict):
        return
    extra = document.get("extra_data")
    png = extra.get("extra_pnginfo") if isinstance(extra, dict) else None
    for holder in (document, png):
        if not isinstance(holder, dict):
            continue
        for key in _WRAPPED:
            value = holder.get(key)
            if isinstance(value, str) and value.lstrip().startswith("{"):  # VideoHelperSuite's comment
                value = read_json(value.encode("utf-8", "replace"), f"its {key}")
            yield value


def _without_noise(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nodes without what the server writes into them while they run."""
    return {name: {key: value for key, value in node.items() if key != "is_changed"} for name, node in nodes.items()}

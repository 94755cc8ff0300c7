"""Reads the workflow in a task's content, and finds what has to be put into it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.errors import PermanentError
from agent.media import output_type
from agent.runtimes.base import Upload
from agent.runtimes.comfyui.inputs import FileInput, Takes


@dataclass(frozen=True)
class Workflow:
    """What `POST /prompt` gets from the task."""

    nodes: dict[str, Any]
    """Node id → `{"class_type", "inputs", …}`."""
    extra: dict[str, Any]
    """Other fields of the request."""


def read_workflow(content: Mapping[str, Any]) -> Workflow:
    """Reads a workflow in API format, bare or wrapped as `{"prompt": {…}, "extra_data": {…}}`.

    Raises:
        PermanentError: it is none; the message names the node.
    """
    nodes: Mapping[str, Any] = content
    extra: dict[str, Any] = {}
    wrapped = content.get("prompt")
    if isinstance(wrapped, dict) and "class_type" not in wrapped:
        nodes = wrapped
        extra = _read_extra(content)
    if isinstance(nodes.get("nodes"), list):
        raise PermanentError(
            "invalid_workflow", "the workflow is in the editor's own format; export it with Export (API)"
        )
    if not nodes:
        raise PermanentError("invalid_workflow", "the workflow has no node; export it with Export (API)")
    for name, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise PermanentError(
                "invalid_workflow",
                f"node {name!r} of the workflow is no object with a class_type; export it with Export (API)",
            )
        if not isinstance(node.get("inputs", {}), dict):
            raise PermanentError("invalid_workflow", f"the inputs of node {name!r} of the workflow are no object")
    return Workflow(dict(nodes), extra)


def _read_extra(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a wrapped workflow may carry besides; ids and places in the queue are the agent's own affair.

    The server does not check these itself, and fails on them with 500, as if it were broken (seen on 0.3.64).
    """
    extra: dict[str, Any] = {}
    for name, kind, words in (("extra_data", dict, "an object"), ("partial_execution_targets", list, "a list")):
        value = content.get(name)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise PermanentError("invalid_workflow", f"{name}: must be {words}; found {value!r:.80}")
        extra[name] = value
    return extra


def with_uploads(
    nodes: Mapping[str, Any], files: Sequence[FileInput], contents: Mapping[str, tuple[str, bytes]]
) -> tuple[dict[str, Any], list[Upload]]:
    """Returns the workflow with the names of uploaded files in the places of their links, and the files.

    Files are named by their content: the same input is stored once on the server, and its cache keeps working. The
    ending is that of the file's own name, since nodes go by it; a picture's is that of its bytes.

    Args:
        nodes: the workflow.
        files: the values that stand for files.
        contents: for each of those values a file name and the file.
    """
    plain = {value: _upload_name(name, data) for value, (name, data) in contents.items()}
    uploads: dict[str, Upload] = {}
    changed = dict(nodes)
    for file in files:
        name = file.folder + plain[file.value]
        uploads[name] = Upload(name, contents[file.value][1])
        if file.takes is Takes.OUTPUT_PICTURE:
            name = f"{name} [input]"
        changed[file.node] = {
            **changed[file.node],
            "inputs": _with_value(changed[file.node]["inputs"], file.path, name),
        }
    return changed, list(uploads.values())


def _with_value(holder: Mapping[str, Any], path: Sequence[str], value: str) -> dict[str, Any]:
    name, *rest = path
    return {**holder, name: _with_value(holder[name], rest, value) if rest else value}


def with_other_prefixes(nodes: Mapping[str, Any], suffix: str) -> dict[str, Any] | None:
    """Returns the workflow with other file names to save under, so that saving runs again; None if it names none."""
    changed = dict(nodes)
    for name, node in nodes.items():
        prefix = node.get("inputs", {}).get("filename_prefix")
        if isinstance(prefix, str):
            changed[name] = {**node, "inputs": {**node["inputs"], "filename_prefix": f"{prefix}-{suffix}"}}
    return changed if changed != nodes else None


def _upload_name(name: str, data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:32]}.{output_type(name, data).extension}"

"""Reads the workflow in a task's content, and finds what has to be put into it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agent.errors import PermanentError
from agent.inputs.links import find_links, replace_links
from agent.media import extension_of
from agent.runtimes.base import Upload

UPLOAD_FOLDER: Final = "darkroom"
"""The folder within the server's input folder that holds what links named."""

_TEXT_CLASSES: Final = re.compile(r"(?:Text|String|Prompt|Note)s?(?![a-z])")
_TEXT_INPUTS: Final = frozenset(
    {"text", "text_g", "text_l", "clip_g", "clip_l", "t5xxl", "positive", "negative", "string", "caption", "title"}
)
_TEXT_ENDINGS: Final = ("prompt", "prompts", "_text", "_prefix")


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
            "invalid_workflow", "the workflow is in the editor's own format; export it with Save (API Format)"
        )
    if not nodes:
        raise PermanentError("invalid_workflow", "the workflow has no node; export it with Save (API Format)")
    for name, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise PermanentError(
                "invalid_workflow",
                f"node {name!r} of the workflow is no object with a class_type; export it with Save (API Format)",
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


def workflow_links(nodes: Mapping[str, Any]) -> list[str]:
    """Returns each link that a node loads from, once. Texts of prompts are never links."""
    found: dict[str, None] = {}
    for _, inputs in _loading(nodes):
        found |= dict.fromkeys(find_links(inputs, is_text=is_text_input))
    return list(found)


def with_uploads(nodes: Mapping[str, Any], fetched: Mapping[str, bytes]) -> tuple[dict[str, Any], list[Upload]]:
    """Returns the workflow with file names instead of links, and the files.

    Files are named by their content: the same input is stored once on the server, and its cache keeps working.
    """
    uploads = {link: Upload(_upload_name(data), data) for link, data in fetched.items()}
    names = {link: f"{UPLOAD_FOLDER}/{upload.name}" for link, upload in uploads.items()}
    changed = dict(nodes)
    for name, inputs in _loading(nodes):
        changed[name] = {**nodes[name], "inputs": replace_links(inputs, names, is_text=is_text_input)}
    return changed, list({upload.name: upload for upload in uploads.values()}.values())


def with_other_prefixes(nodes: Mapping[str, Any], suffix: str) -> dict[str, Any] | None:
    """Returns the workflow with other file names to save under, so that saving runs again; None if it names none."""
    changed = dict(nodes)
    for name, node in nodes.items():
        prefix = node.get("inputs", {}).get("filename_prefix")
        if isinstance(prefix, str):
            changed[name] = {**node, "inputs": {**node["inputs"], "filename_prefix": f"{prefix}-{suffix}"}}
    return changed if changed != nodes else None


def is_text_input(name: str) -> bool:
    """Tells whether an input of that name holds words or a name, in which an address is just words."""
    name = name.lower()
    return name in _TEXT_INPUTS or name.endswith(_TEXT_ENDINGS)


def _loading(nodes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields id and inputs of the nodes that may load something: not those that only hold text."""
    for name, node in nodes.items():
        if not _TEXT_CLASSES.search(node["class_type"]):
            yield name, node.get("inputs", {})


def _upload_name(data: bytes) -> str:
    return f"{hashlib.sha256(data).hexdigest()[:32]}.{extension_of(data)}"

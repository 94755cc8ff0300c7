"""Changes single values of a request: what `--set 6.text="a fox"` and `--input 10.image=cat.png` mean."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from typing import Any


class ChangeError(Exception):
    """A change that cannot be made; the text quotes what was typed and says what there is."""


def is_workflow(document: Any) -> bool:
    """Tells whether a document is a ComfyUI workflow in API format: nodes by their ids."""
    return (
        isinstance(document, dict)
        and bool(document)
        and all(isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in document.values())
    )


def is_editors(document: Any) -> bool:
    """Tells whether a document is a workflow as ComfyUI's editor saves it, which its server does not take."""
    return isinstance(document, dict) and isinstance(document.get("nodes"), list) and "links" in document


def from_workflow(workflow: dict[str, Any], *, runtime: str, task_id: str | None = None) -> dict[str, Any]:
    """Returns a request in v1's form that runs a workflow; without an id the API makes one."""
    metadata = {"runtime": runtime, "tasktype": "pipeline", "prefix": "output", "context": ""}
    if task_id is not None:
        metadata["id"] = task_id
    return {"task": {"metadata": metadata, "content": workflow}}


def content_of(document: Any) -> Any:
    """Returns what of a request the runtime gets, in any form that the API takes."""
    match document:
        case {"task": {"content": content}} | {"api": str(), "payload": content}:
            return content
        case _:
            return document


def split(typed: str, option: str) -> tuple[str, str]:
    """Returns the place and the value of `PLACE=VALUE`.

    Raises:
        ChangeError: it is not written so.
    """
    place, sign, value = typed.partition("=")
    if not sign or not place:
        raise ChangeError(f"{option} {typed!r}: write it as PLACE=VALUE, such as 6.text='a fox' or steps=30")
    return place, value


def change(content: Any, place: str, value: str | Callable[[], str], option: str) -> None:
    """Puts a value into a request's content.

    Args:
        content: of the request; it is changed.
        place: `NODE.INPUT` of a workflow; elsewhere the keys and indexes that lead to the value, with dots between.
        value: its text, which replaces a text as it is, and is otherwise read as JSON if it is such; or what gives a
            text, called only once the place is known to be there.
        option: by which it was typed, for the errors.

    Raises:
        ChangeError: there is no such place.
    """
    typed = f"{option} {place}"
    parts = place.split(".")
    if is_workflow(content):
        # An input's own name may have dots; a node's id has none.
        node, _, name = place.partition(".")
        inputs = _get(content, node, typed, "node").get("inputs", {})
        _get(inputs, name, typed, f"input of node {node} ({content[node]['class_type']})")
        parts = [node, "inputs", name]
    *path, last = parts
    for part in path:
        content = _get(content, part, typed, "key")
    if isinstance(content, list):
        before = _get(content, last, typed, "index")
        content[int(last)] = _read(value, before)
    elif isinstance(content, dict):
        content[last] = _read(value, content.get(last))
    else:
        raise ChangeError(f"{typed}: {'.'.join(path)} is {content!r}, which holds nothing")


def _get(holder: Any, name: str, typed: str, kind: str) -> Any:
    if isinstance(holder, dict) and name in holder:
        return holder[name]
    if isinstance(holder, list) and name.isdecimal() and int(name) < len(holder):
        return holder[int(name)]
    known = [str(key) for key in (holder if isinstance(holder, dict) else range(len(holder)))] if holder else []
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ChangeError(f"{typed}: there is no {kind} {name!r}; {hint}there is: {', '.join(known[:40]) or 'nothing'}")


def _read(value: str | Callable[[], str], before: Any) -> Any:
    if not isinstance(value, str):
        return value()
    if isinstance(before, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value

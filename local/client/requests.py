"""Recognises which of the API's dialects a request is written in, and makes one from a prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

_SECONDS: Final = re.compile(r"[0-9]+(\.[0-9]+)?")


class UnknownRequestError(Exception):
    """A document that is no request of any dialect; the text says what is expected."""


def route_of(document: Any) -> str:
    """Returns the path to which a request has to be posted.

    Raises:
        UnknownRequestError: it has the shape of none of the four.
    """
    match document:
        case {"api": str(), "payload": dict()}:
            return "/task"
        case {"task": {"metadata": {"id": _}}}:
            return "/v1alpha2"
        case {"task": {"metadata": dict()}}:
            return "/v1/tasks"
        case {"alwayson_scripts": {"task": _}} | {"alwayson_scripts": {"id_task": _}}:
            return "/v1alpha1"
        case _:
            raise UnknownRequestError(
                'this is no request: expected {"task": {"metadata": …, "content": …}} (v1, v1alpha2), '
                '{"alwayson_scripts": {"task": …, "id_task": …}, …} (v1alpha1) or {"api": …, "payload": …} (/task)'
            )


def demand(document: Any, *, tags: Sequence[str] = (), start_by: str | None = None) -> Any:
    """Returns a request with tags and the time by which it is to begin, in the form that has both (`POST /v1/tasks`).

    Args:
        document: of v1 or v1alpha2.
        tags: each `NAME=VALUE`.
        start_by: a time with its zone, or seconds from now.

    Raises:
        UnknownRequestError: it has another form, or a tag is not written so.
    """
    if not (isinstance(document, dict) and isinstance(document.get("task"), dict)):
        raise UnknownRequestError('--tag and --start-by are for requests of the form {"task": {"metadata": …, …}}')
    wanted: dict[str, Any] = {}
    if tags:
        wanted["tags"] = dict(map(_tag, tags))
    if start_by is not None:
        wanted["start_by"] = float(start_by) if _SECONDS.fullmatch(start_by) else start_by
    metadata = {**document["task"].get("metadata", {}), **wanted}
    return {**document, "task": {**document["task"], "metadata": metadata}}


def _tag(typed: str) -> tuple[str, str]:
    name, sign, value = typed.partition("=")
    if not (name and sign):
        raise UnknownRequestError(f"--tag {typed!r}: write it as NAME=VALUE, such as team=ads")
    return name, value


def task_id_of(answer: Any) -> str:
    """Returns the task's id from the answer of any dialect.

    Raises:
        UnknownRequestError: there is none in it.
    """
    if isinstance(answer, dict):
        for key in ("id_task", "taskId", "id"):
            if isinstance(answer.get(key), str):
                return str(answer[key])
    raise UnknownRequestError(f"the answer names no task: {answer!r}")


def from_prompt(
    prompt: str,
    *,
    runtime: str,
    task_id: str | None = None,
    steps: int = 20,
    width: int = 512,
    height: int = 512,
    count: int = 1,
    seed: int | None = None,
) -> dict[str, Any]:
    """Returns a text-to-image request in v1's form; without an id the API makes one."""
    metadata: dict[str, Any] = {"runtime": runtime, "tasktype": "text-to-image", "prefix": "output", "context": ""}
    if task_id is not None:
        metadata["id"] = task_id
    content: dict[str, Any] = {
        "alwayson_scripts": {},
        "prompt": prompt,
        "steps": steps,
        "width": width,
        "height": height,
        "batch_size": count,
    }
    if seed is not None:
        content["seed"] = seed
    return {"task": {"metadata": metadata, "content": content}}

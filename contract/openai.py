"""What a `pipeline` for a runtime of type `openai` may ask: the server's own JSON, at one of these paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

GENERATIONS: Final = "/v1/images/generations"
EDITS: Final = "/v1/images/edits"
VIDEOS: Final = "/v1/videos"

PATHS: Final = (GENERATIONS, EDITS, VIDEOS)
"""Where a task may go: no other route of the server is reached."""


def request_of(content: dict[str, Any]) -> tuple[str, Any]:
    """Returns the path and the body of a pipeline's content.

    `{"path": …, "body": {…}}` names both; any other content is a body of `/v1/images/generations`.
    """
    if "body" not in content:
        return GENERATIONS, content
    return content.get("path", GENERATIONS), content["body"]


def problems(content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what is wrong with a pipeline's content: the field within it (empty: all of it), and a sentence."""
    path, body = request_of(content)
    if not isinstance(path, str) or path not in PATHS:
        yield "path", f"must be one of {', '.join(PATHS)}; found {str(path)[:80]!r}"
    field = "body" if "body" in content else ""
    if not isinstance(body, dict) or not body:
        yield field, 'must be the JSON object that the server takes, such as {"prompt": "a dog", "size": "512x512"}'
    elif not isinstance(body.get("prompt"), str) or not body["prompt"].strip():
        yield f"{field}.prompt".strip("."), "is required: it says what is wanted"

"""Reads the images out of SD Web UI's answers."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from agent.documents import THREAD_THRESHOLD, decode_json, read_json
from agent.errors import TransientError
from agent.runtimes.allowance import check_outputs, check_values
from agent.runtimes.base import Answer, Output
from agent.runtimes.http import Reply
from agent.runtimes.sdwebui.failures import TITLE, failure_of, failure_of_run


async def read_answer(reply: Reply) -> tuple[Answer, str | None]:
    """Returns what was made, and the name of the checkpoint that made it if the answer tells.

    Raises:
        TaskError: its status is not 200, or it is too large.
        TransientError: it is not such an answer, or holds no image.
    """
    if not reply.ok:
        raise failure_of(reply.status, reply.body)
    body = reply.body
    check_values(body, TITLE)
    try:
        document = await decode_json(body)
    except ValueError as error:
        raise TransientError("garbage_answer", "SD Web UI answered 200 with something that is no JSON") from error
    if not isinstance(document, dict):
        raise TransientError("garbage_answer", "SD Web UI answered 200 with JSON that is no object")
    encoded = document["images"] if "images" in document else [document.get("image")]
    if not isinstance(encoded, list) or not all(isinstance(item, str) and item for item in encoded):
        raise TransientError("garbage_answer", "SD Web UI answered 200 with images that are no base64 text")
    check_outputs(len(encoded), TITLE)
    if not encoded:
        raise failure_of_run(_reason(document.get("info")))
    if len(body) > THREAD_THRESHOLD:
        outputs = await asyncio.to_thread(_decode_all, encoded)
    else:
        outputs = _decode_all(encoded)
    return Answer(outputs, body), _model_name(document)


def _reason(info: Any) -> str:
    """Returns what `info` says of a run that made nothing; empty when it says nothing.

    SD.Next answers a run that has failed with 200 and no image, and may name the error here, as text or in its JSON.
    """
    if not isinstance(info, str):
        return ""
    try:
        parsed = read_json(info)
    except ValueError:
        return info
    if not isinstance(parsed, dict):
        return info if isinstance(parsed, str) else ""
    return next((str(parsed[key]) for key in ("error", "message", "detail", "comments") if parsed.get(key)), "")


def _decode_all(encoded: list[str]) -> list[Output]:
    """Returns the images, and lets go of each one's text: all of them lie in memory as bytes in the answer, too."""
    outputs: list[Output] = []
    for index, text in enumerate(encoded):
        encoded[index] = ""
        outputs.append(Output(_decode(text, index + 1)))
    return outputs


def _decode(text: str, number: int) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:  # of which base64's own error is one; letters beyond ASCII raise the plain one
        raise TransientError(
            "garbage_answer", f"SD Web UI answered 200, but image {number} is no base64: {error}"
        ) from error
    if not data:
        raise TransientError("garbage_answer", f"SD Web UI answered 200, but image {number} is empty")
    return data


def _model_name(document: dict[str, Any]) -> str | None:
    """Returns `sd_model_name` of `info`, which is JSON inside JSON; None on versions that lack it."""
    info = document.get("info")
    try:
        parsed = read_json(info) if isinstance(info, str) else info
    except ValueError:
        return None
    name = parsed.get("sd_model_name") if isinstance(parsed, dict) else None
    return name if isinstance(name, str) and name else None

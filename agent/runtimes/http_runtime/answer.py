"""Reads what a runtime of one's own answers: its outputs, or why there are none."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import Any, Final

from agent.documents import THREAD_THRESHOLD, decode_json, json_object
from agent.errors import PASSING_STATUSES, PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes.allowance import check_outputs, check_values
from agent.runtimes.base import Answer, Output

TITLE: Final = "the runtime"
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MOST: Final = 500


async def read_answer(body: bytes) -> Answer:
    """Returns what a run made, from an answer with status 200.

    Raises:
        TransientError: it is not of the contract's shape.
        PermanentError: it holds no output, or is too large.
    """
    check_values(body, TITLE)
    try:
        document = await decode_json(body)
    except ValueError as error:
        raise _garbage("something that is no JSON") from error
    outputs = document.get("outputs") if isinstance(document, dict) else None
    if not isinstance(outputs, list):
        raise _garbage("JSON without a list of outputs")
    check_outputs(len(outputs), TITLE)
    if not outputs:
        raise PermanentError("no_outputs", f"{TITLE} ended the task without an output")
    if len(body) > THREAD_THRESHOLD:
        return Answer(await asyncio.to_thread(_decode_all, outputs), body)
    return Answer(_decode_all(outputs), body)


def failure_of(status: int, body: bytes) -> TaskError:
    """Returns the error for an answer of another status, in the runtime's own words.

    A code of its own is kept, when it is one: lower-case letters, digits and underscores.
    """
    error = json_object(body).get("error")
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "")
    words = " ".join(str(error.get("message") or "").split())[:_MOST]
    said = f": {words}" if words else ""
    if status in {401, 403}:
        return RuntimeUnavailableError(
            "runtime_unauthorized",
            f"{TITLE} refuses the agent ({status}){said}; set RUNTIME_TOKEN, or user and password in API_BASE_URL",
        )
    if status in {404, 405} and not error:
        return RuntimeUnavailableError(
            "runtime_without_api", f"the server at this address does not speak the contract of type http ({status})"
        )
    if status == 503:
        return RuntimeUnavailableError("runtime_not_ready", f"{TITLE} takes no task now (503){said}")
    code = code if _CODE.fullmatch(code) else ""
    if status == 409 and code == "cancelled":
        return TransientError("interrupted", f"somebody cancelled the run on {TITLE}")
    # 409 is no fault of the task: an agent that was killed has left a run of this id, and the next try has another id.
    if 400 <= status < 500 and status not in PASSING_STATUSES | {409}:
        return PermanentError(code or "rejected_by_runtime", f"{TITLE} refuses the task ({status}){said}")
    return TransientError(code or "runtime_error", f"{TITLE} failed ({status}){said}")


def _decode_all(items: list[Any]) -> list[Output]:
    """Returns the outputs, and lets go of each one's text: all of them lie in memory as bytes in the answer, too."""
    outputs: list[Output] = []
    for index, item in enumerate(items):
        items[index] = None
        outputs.append(_decode(item, index + 1))
    return outputs


def _decode(item: Any, number: int) -> Output:
    text = item.get("data") if isinstance(item, dict) else None
    if not isinstance(text, str) or not text:
        raise _garbage(f"an output {number} that has no data")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:  # of which base64's own error is one; letters beyond ASCII raise the plain one
        raise _garbage(f"an output {number} that is no base64") from error
    return Output(data, str(item.get("name") or ""))


def _garbage(what: str) -> TransientError:
    return TransientError("garbage_answer", f"{TITLE} answered 200 with {what}")

"""What an answer of such a server that is no 200 means for the task."""

from __future__ import annotations

import re
from typing import Any, Final

from agent.documents import json_object
from agent.errors import PASSING_STATUSES, PermanentError, RuntimeUnavailableError, TaskError, TransientError

TITLE: Final = "the OpenAI-shaped server"
_MOST: Final = 500
_OUT_OF_MEMORY: Final = re.compile(r"out of memory|outofmemory|failed to allocate", re.IGNORECASE)
_NO_MODEL: Final = re.compile(
    r"model\b.*\b(?:does not exist|not found|not supported|not available)", re.IGNORECASE | re.DOTALL
)


def failure_of(status: int, body: bytes) -> TaskError:
    """Returns the error for an answer, in the server's own words."""
    words = words_of(json_object(body))
    said = f": {words}" if words else ""
    if status in {401, 403}:
        return RuntimeUnavailableError(
            "runtime_unauthorized", f"{TITLE} refuses the agent ({status}){said}; put its API key into RUNTIME_TOKEN"
        )
    if status in {400, 404, 500, 503} and _NO_MODEL.search(words):
        # 500 and 503: Aquiles-Image.
        return PermanentError("unknown_checkpoint", f"{TITLE} does not have the model{said}")
    if status == 503:
        return RuntimeUnavailableError("runtime_not_ready", f"{TITLE} takes no task now (503){said}")
    if status < 500 or status == 501:
        return _refusal(status, words, said)
    return failure_of_run(words) or TransientError("runtime_error", f"{TITLE} failed ({status}){said}")


def failure_of_run(words: str) -> TaskError | None:
    """Returns the error of a run that the server says it could not do, where its words tell why."""
    if _OUT_OF_MEMORY.search(words):
        return TransientError(
            "out_of_memory", f"{TITLE} ran out of memory: {words}; ask for a smaller size, or fewer at once"
        )
    return None


def words_of(document: dict[str, Any]) -> str:
    """Returns what an error says.

    Three shapes are read: `{"error": {"message", "type", "code"}}` of OpenAI, `{"error": "…", "message": "…"}` of
    sd-server, and FastAPI's `{"detail": …}`.
    """
    error, detail = document.get("error"), document.get("detail")
    if isinstance(error, dict):
        found = str(error.get("message") or error.get("code") or error.get("type") or "")
    elif isinstance(detail, list):
        found = "; ".join(_field_fault(item) for item in detail)
    else:
        found = str(document.get("message") or error or detail or "")
    found = " ".join(found.split())
    return found if len(found) <= _MOST else f"{found[:_MOST]}…"


def names_no_route(status: int, body: bytes) -> bool:
    """Tells whether an answer says that there is no such route, rather than no such model."""
    document = json_object(body)
    return status == 405 or (status == 404 and (not document or document.get("detail") == "Not Found"))


def _refusal(status: int, words: str, said: str) -> TaskError:
    if status in PASSING_STATUSES:
        return TransientError("runtime_busy", f"{TITLE} takes no more requests now ({status}){said}")
    if status >= 400:
        return failure_of_run(words) or PermanentError(
            "rejected_by_runtime", f"{TITLE} refuses the request ({status}){said}"
        )
    return TransientError("runtime_error", f"{TITLE} answered with {status}{said}")


def _field_fault(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    path = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
    return f"{'.'.join(path) or 'the body'}: {item.get('msg', 'is wrong')}"

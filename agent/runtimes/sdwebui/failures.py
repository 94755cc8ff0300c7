"""What an answer of SD Web UI that is no 200 means for the task."""

from __future__ import annotations

from typing import Any, Final

from agent.documents import json_object
from agent.errors import PASSING_STATUSES, PermanentError, RuntimeUnavailableError, TaskError, TransientError

TITLE: Final = "SD Web UI"
_MOST: Final = 500
_BAD_INPUT: Final = ("Invalid encoded image", "Init image not found", "Incorrect image", "Invalid image url")

_BAD_REQUEST: Final = (
    "Could not find checkpoint with name",
    "could not find upscaler named",
    "bad number of images passed",
    "number of steps must be non-negative",
    "Trying to create tensor with negative dimension",
    "[json.exception.",
)
"""What 1.10.1 breaks at while it runs, and sd-server at once, however often it is tried (docs/conformance.md)."""


def failure_of(status: int, body: bytes) -> TaskError:
    """Returns the error for an answer, in the server's own words.

    Both shapes are read: `{"error", "detail", "body", "errors"}` of its own handler, and FastAPI's `{"detail": …}`.
    """
    document = json_object(body)
    words = _words(document)
    said = f": {words}" if words else ""
    return (
        _failure_of_setup(status, document, said)
        or _failure_by_words(str(document.get("error") or ""), words, said)
        or _failure_by_status(status, said)
    )


def failure_of_run(reason: str) -> TaskError:
    """Returns the error for an answer of 200 without an image, by which SD.Next says that a run has failed."""
    words = _shortened(reason)
    said = f": {words}" if words else "; its log says why"
    return _failure_by_words("", words, said) or TransientError(
        "no_images", f"{TITLE} answered 200 without any image, which is how SD.Next tells of a failed run{said}"
    )


def _failure_of_setup(status: int, document: dict[str, Any], said: str) -> TaskError | None:
    """What is wrong with the deployment, whichever task is sent."""
    if status in {401, 403}:
        return RuntimeUnavailableError(
            "runtime_unauthorized",
            f"{TITLE} refuses the agent ({status}){said}; put the user and password of --api-auth into API_BASE_URL",
        )
    if status == 405 or (status == 404 and document.get("detail") == "Not Found"):
        return RuntimeUnavailableError(
            "runtime_without_api", f"the server has no {TITLE} API at this address ({status}); start it with --api"
        )
    return None


def _failure_by_words(kind: str, words: str, said: str) -> TaskError | None:
    """Failures that the server answers with 500, whoever is to blame."""
    if kind.endswith("OutOfMemoryError") or "out of memory" in words.lower():
        return TransientError(
            "out_of_memory", f"{TITLE} ran out of video memory{said}; ask for a smaller size or batch"
        )
    if any(phrase in words for phrase in _BAD_INPUT):
        return PermanentError("invalid_image", f"{TITLE} cannot read an input image{said}")
    if any(phrase in words for phrase in _BAD_REQUEST):
        return PermanentError("rejected_by_runtime", f"{TITLE} cannot run the request{said}")
    if kind == "ResponseValidationError" or "html_info" in words:
        # SD.Next's extra-single-image: its answer does not fit its own API, whatever was asked.
        return PermanentError("rejected_by_runtime", f"{TITLE} cannot answer such a request in this version{said}")
    if kind == "RuntimeError" and words.startswith("model ") and words.endswith("not found"):
        return PermanentError("unknown_checkpoint", f"{TITLE} does not have the checkpoint{said}")
    return None


def _failure_by_status(status: int, said: str) -> TaskError:
    if status == 429:
        return TransientError(
            "rate_limited",
            f"{TITLE} made the picture and threw it away, since it answers no more requests a minute (429){said}; "
            "set SD.Next's option server_rate_limit to 0",
        )
    if 400 <= status < 500 and status not in PASSING_STATUSES:
        return PermanentError("rejected_by_runtime", f"{TITLE} refuses the request ({status}){said}")
    return TransientError("runtime_error", f"{TITLE} failed ({status}){said}")


def _words(document: dict[str, Any]) -> str:
    detail = document.get("detail")
    if isinstance(detail, list):
        words = "; ".join(_field_fault(item) for item in detail)
    else:
        # `errors` repeats `detail` on newer starlette ("404: Sampler not found"), so it only fills a gap.
        # Beside its `error`, sd-server has a `message`.
        words = str(detail or document.get("errors") or document.get("message") or document.get("error") or "")
    return _shortened(words)


def _shortened(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _MOST else f"{words[:_MOST]}…"


def _field_fault(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    path = [str(part) for part in place if part != "body"] if isinstance(place, list) else []
    return f"{'.'.join(path) or 'the body'}: {item.get('msg', 'is wrong')}"

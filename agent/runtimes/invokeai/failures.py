"""What InvokeAI's refusals and failures mean for the task, in words that name the node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from agent.documents import json_object
from agent.errors import PASSING_STATUSES, PermanentError, RuntimeUnavailableError, TaskError, TransientError
from agent.runtimes.comfyui.failures import failure_of_execution, without_paths
from agent.runtimes.invokeai.session import failed_node

TITLE: Final = "InvokeAI"
_FAULTS_NAMED: Final = 5
_ABOVE_THE_GRAPH: Final = frozenset({"body", "batch", "graph", "nodes"})
_MAINTENANCE: Final = 409
"""What it answers while it moves its images to other folders."""


def failure_of(status: int, body: bytes) -> TaskError:
    """Returns the error for an HTTP answer that is no success."""
    if status in {401, 403}:
        return RuntimeUnavailableError(
            "runtime_unauthorized", f"{TITLE} refuses the agent ({status}); run it without multiuser mode"
        )
    document = json_object(body)
    detail = document.get("detail")
    if status in {404, 405} and (detail is None or str(detail) in {"Not Found", "Method Not Allowed"}):
        return RuntimeUnavailableError(
            "runtime_without_api", f"the server at this address is no {TITLE} of version 6 ({status})"
        )
    if status == 413:
        return PermanentError("input_too_large", f"{TITLE} refuses an input as too large; link to a smaller file")
    if 400 <= status < 500 and status not in PASSING_STATUSES | {_MAINTENANCE}:
        return PermanentError("invalid_workflow", f"{TITLE} refuses the graph: {_refusal(document, status)}")
    return TransientError("runtime_error", f"{TITLE} failed ({status})")


def failure_of_item(item: Mapping[str, Any]) -> TaskError:
    """Returns the error for a queue item that failed. Its traceback is left aside: it names the server's folders."""
    node, kind = failed_node(item)
    data = {
        "exception_type": item.get("error_type"),
        "exception_message": item.get("error_message"),
        "node_id": node,
        "node_type": kind,
    }
    return failure_of_execution(data, TITLE)


def _refusal(document: Mapping[str, Any], status: int) -> str:
    """FastAPI's list of faults, or the one sentence that stands in its place."""
    detail = document.get("detail")
    if isinstance(detail, str):
        return without_paths(detail)
    faults = [fault for fault in detail if isinstance(fault, dict)] if isinstance(detail, list) else []
    if not faults:
        return f"status {status}, without a reason"
    more = len(faults) - _FAULTS_NAMED
    words = "; ".join(_fault(fault) for fault in faults[:_FAULTS_NAMED])
    return words + (f"; and {more} more faults" if more > 0 else "")


def _fault(fault: Mapping[str, Any]) -> str:
    """One fault: where it is in the graph, and what it is. Its `input` is left aside: it can be the whole graph."""
    location = fault.get("loc")
    place = [str(part) for part in location if str(part) not in _ABOVE_THE_GRAPH] if isinstance(location, list) else []
    context = fault.get("ctx")
    if fault.get("type") == "union_tag_invalid" and isinstance(context, dict):
        # Its message lists the hundreds of types that there are.
        said = f"there is no node of type {str(context.get('tag'))!r:.80}"
    else:
        said = without_paths(str(fault.get("msg") or "is invalid").removeprefix("Value error, "))
    return f"{'.'.join(place)}: {said}" if place else said

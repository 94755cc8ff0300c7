"""What ComfyUI's refusals and failures mean for the task, in words that name the node."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from agent.documents import json_object
from agent.errors import PASSING_STATUSES, PermanentError, RuntimeUnavailableError, TaskError, TransientError

TITLE: Final = "ComfyUI"
_MOST: Final = 500
_NODES_NAMED: Final = 5

_QUOTED_PATH: Final = re.compile(r"""(['"])(?:/|[A-Za-z]:\\)[^'"\n]*[/\\]([^'"/\\\n]*)\1""")
_BARE_PATH: Final = re.compile(r"(?<![\w:/.<-])(?:[A-Za-z]:\\|/)(?:[^\s/\\'\":]+[/\\])+([^\s/\\'\":]*)")

_MEMORY: Final = ("out of memory", "allocation on device", "not enough memory", "cannot allocate memory")
_HARDWARE: Final = ("cuda error", "cudnn", "cublas", "hip error", "nccl", "device-side assert")
_PASSING: Final = ("no space left", "connection refused", "connection reset", "connection error", "too many open files")
"""Troubles of the machine, not of the workflow."""
_ABSENT: Final = ("filenotfound", "no such file", "not found", "does not exist")


def failure_of(status: int, body: bytes) -> TaskError:
    """Returns the error for an HTTP answer that is no 200."""
    if status in {401, 403}:
        return RuntimeUnavailableError(
            "runtime_unauthorized",
            f"{TITLE} refuses the agent ({status}); set RUNTIME_TOKEN, or user and password in API_BASE_URL",
        )
    document = json_object(body)
    if status == 405 or (status == 404 and not document):
        return RuntimeUnavailableError("runtime_without_api", f"the server at this address is no {TITLE} ({status})")
    if status == 413:
        return PermanentError("input_too_large", f"{TITLE} refuses an input as too large; link to a smaller file")
    if 400 <= status < 500 and status not in PASSING_STATUSES:
        return PermanentError("invalid_workflow", f"{TITLE} refuses the workflow: {_refusal(document, status)}")
    return TransientError("runtime_error", f"{TITLE} failed ({status})")


def failure_of_nodes(node_errors: Any) -> PermanentError:
    """Returns the error for `node_errors`, which also come with a 200 when only some outputs are valid."""
    return PermanentError("invalid_workflow", f"{TITLE} refuses the workflow: {_nodes(node_errors)}")


def failure_of_execution(data: Mapping[str, Any], title: str = TITLE) -> TaskError:
    """Returns the error for the data of an `execution_error` event: whose fault is it?"""
    kind = str(data.get("exception_type") or "an error")
    said = without_paths(str(data.get("exception_message") or ""))
    node = f"node {data.get('node_id')!r} ({data.get('node_type')})"
    text = f"{kind} {said}".lower()
    name = kind.rpartition(".")[2]
    if "OutOfMemory" in name or name == "MemoryError" or any(phrase in text for phrase in _MEMORY):
        return TransientError(
            "out_of_memory", f"{title} ran out of memory in {node}: {said}; ask for a smaller size or batch"
        )
    if name == "AcceleratorError" or any(phrase in text for phrase in _HARDWARE):
        return TransientError("gpu_error", f"the GPU failed in {node}: {said}")
    if any(phrase in text for phrase in _PASSING):
        return TransientError("runtime_error", f"{title} failed in {node}: {name}: {said}")
    return PermanentError("node_failed", f"{title} failed in {node}: {name}: {said}")


def may_lack_input(error: TaskError) -> bool:
    """Tells whether a run may have failed because a file of the server's input folder is gone.

    The server looks for it when it takes the workflow (`LoadImage.VALIDATE_INPUTS`), many other nodes when they run.
    """
    if error.code == "invalid_workflow":
        return True
    text = error.message.lower()
    return error.code == "node_failed" and any(phrase in text for phrase in _ABSENT)


def without_paths(text: str) -> str:
    """Returns a message in one line, without the folders of the server, and not too long."""
    text = _QUOTED_PATH.sub(r"\1\2\1", text)
    text = _BARE_PATH.sub(r"\1", text)
    text = " ".join(text.split())
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"


def _refusal(document: dict[str, Any], status: int) -> str:
    if document.get("node_errors"):
        return _nodes(document["node_errors"])
    error = document.get("error")
    if isinstance(error, str):
        return without_paths(error)
    if not isinstance(error, dict):
        return f"status {status}, without a reason"
    message, details = without_paths(str(error.get("message") or "")), without_paths(str(error.get("details") or ""))
    if error.get("type") == "prompt_outputs_failed_validation" and not details:
        # What a cycle gives: no node, no details.
        details = "no node is named, as when nodes are linked in a circle"
    return " ".join(part for part in (message, f"({details})" if details else "") if part) or f"status {status}"


def _nodes(node_errors: Any) -> str:
    if not isinstance(node_errors, dict):
        return "its nodes are invalid"
    parts = [_node(name, node) for name, node in list(node_errors.items())[:_NODES_NAMED]]
    more = len(node_errors) - _NODES_NAMED
    return "; ".join(parts) + (f"; and {more} more nodes" if more > 0 else "")


def _node(name: str, node: Any) -> str:
    if not isinstance(node, dict):
        return f"node {name!r}"
    faults = [_fault(fault) for fault in node.get("errors") or () if isinstance(fault, dict)]
    return f"node {name!r} ({node.get('class_type')}): {', '.join(faults) or 'is invalid'}"


def _fault(fault: dict[str, Any]) -> str:
    """One fault of one node. `extra_info` is used for the input's name alone: it can hold a whole traceback."""
    extra = fault.get("extra_info")
    name = extra.get("input_name") if isinstance(extra, dict) else None
    details = without_paths(str(fault.get("details") or ""))
    words = without_paths(str(fault.get("message") or fault.get("type") or "is invalid"))
    where = f"input {name!r}: " if name else ""
    return f"{where}{words}{f' ({details})' if details else ''}"

"""Prompts as ComfyUI's `/api/jobs` tells of them, in queue and history alike (since about 0.20)."""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

type Job = dict[str, Any]
type Query = Mapping[str, str]

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
_SORTS = ("created_at", "execution_duration")
_ORDERS = ("asc", "desc")
_ENDINGS = {"execution_success": "completed", "execution_error": "failed", "execution_interrupted": "cancelled"}
_PREVIEWABLE = {"images", "video", "audio", "3d", "text"}
_MODELS_3D = (".obj", ".fbx", ".gltf", ".glb", ".usdz")
_LONGEST_TEXT = 1024


class JobQueryError(ValueError):
    """A query that is refused with 400; the text is the answer's."""


def is_job_id(value: Any) -> bool:
    """Whether a text is a UUID as `str(uuid.uuid4())` writes it: lower case, with hyphens."""
    try:
        return isinstance(value, str) and str(uuid.UUID(value)) == value
    except ValueError:
        return False


def queued_job(item: list[Any], status: str) -> Job:
    """A job that waits or runs.

    Args:
        item: number, id, prompt, extra data and outputs.
        status: `pending` or `in_progress`.
    """
    number, prompt_id, _, extra_data, _ = item
    job = {"id": prompt_id, "status": status, "priority": number, "outputs_count": 0, "previewable_outputs_count": 0}
    return _pruned({**job, **_origin(extra_data)})


def ended_job(prompt_id: str, entry: Mapping[str, Any], *, whole: bool = False) -> Job:
    """A job of the history; the whole one has outputs, messages and workflow besides."""
    number, _, prompt, extra_data, _ = entry["prompt"]
    messages = dict(entry["status"]["messages"])
    ending = next((name for name in _ENDINGS if name in messages), None)
    shown = list(_shown(entry["outputs"]))
    counted = [(kind, item) for kind, item in shown if "content" not in item]
    job = {
        "id": prompt_id,
        "status": _ENDINGS.get(ending or "", "failed"),
        "priority": number,
        "execution_start_time": messages.get("execution_start", {}).get("timestamp"),
        "execution_end_time": messages[ending]["timestamp"] if ending else None,
        "execution_error": messages.get("execution_error"),
        "outputs_count": len(counted),
        "previewable_outputs_count": sum(_is_previewable(kind, item) for kind, item in counted),
        "preview_output": _preview(shown),
        **_origin(extra_data),
    }
    if whole:
        job["outputs"] = entry["outputs"]
        job["execution_status"] = entry["status"]
        job["workflow"] = {"prompt": prompt, "extra_data": extra_data}
    return _pruned(job)


def list_jobs(jobs: Iterable[Job], query: Query) -> dict[str, Any]:
    """The answer of `GET /api/jobs`.

    Raises:
        JobQueryError: an option of the query has another value than it may.
    """
    wanted = [part.strip() for part in query.get("status", "").split(",") if part.strip()] or list(STATUSES)
    if wrong := [status for status in wanted if status not in STATUSES]:
        raise JobQueryError(f"Invalid status value(s): {', '.join(wrong)}. Valid values: {', '.join(STATUSES)}")
    by, order = query.get("sort_by", "created_at"), query.get("sort_order", "desc")
    if by not in _SORTS:
        raise JobQueryError("sort_by must be 'created_at' or 'execution_duration'")
    if order not in _ORDERS:
        raise JobQueryError("sort_order must be 'asc' or 'desc'")
    limit = _whole_number("limit", query)
    if limit is not None and limit <= 0:
        raise JobQueryError("limit must be a positive integer")
    offset = max(0, _whole_number("offset", query) or 0)
    workflow = query.get("workflow_id")
    found = [job for job in jobs if job["status"] in wanted and (not workflow or job.get("workflow_id") == workflow)]
    found.sort(key=_created if by == "created_at" else _duration, reverse=order == "desc")
    page = found[offset:] if limit is None else found[offset : offset + limit]
    pages = {"offset": offset, "limit": limit, "total": len(found), "has_more": offset + len(page) < len(found)}
    return {"jobs": page, "pagination": pages}


def _whole_number(name: str, query: Query) -> int | None:
    try:
        return int(query[name]) if name in query else None
    except ValueError as error:
        raise JobQueryError(f"{name} must be an integer") from error


def _created(job: Job) -> int:
    return int(job.get("create_time", 0))


def _duration(job: Job) -> int:
    return int(job.get("execution_end_time", 0)) - int(job.get("execution_start_time", 0))


def _pruned(job: Job) -> Job:
    return {name: value for name, value in job.items() if value is not None}


def _origin(extra_data: Mapping[str, Any]) -> Job:
    workflow = extra_data.get("extra_pnginfo", {}).get("workflow", {})
    return {"create_time": extra_data.get("create_time"), "workflow_id": workflow.get("id")}


def _shown(outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Job]]:
    """All that nodes show: files, names of 3D files among bare texts, and texts."""
    for node_id, output in outputs.items():
        for kind, items in output.items():
            for item in items if isinstance(items, list) and kind != "animated" else []:
                if isinstance(item, dict):
                    yield kind, {**item, "nodeId": node_id, "mediaType": kind}
                elif isinstance(item, str) and item.lower().endswith(_MODELS_3D):
                    file = {"filename": item, "type": "output", "subfolder": ""}
                    yield kind, {**file, "nodeId": node_id, "mediaType": "3d"}
                elif isinstance(item, str) and kind == "text":
                    yield kind, {"content": item[:_LONGEST_TEXT], "nodeId": node_id, "mediaType": kind}


def _is_previewable(kind: str, item: Job) -> bool:
    return (
        kind in _PREVIEWABLE
        or item["mediaType"] == "3d"
        or str(item.get("format", "")).startswith(("video/", "audio/"))
    )


def _preview(shown: list[tuple[str, Job]]) -> Job | None:
    """The one that stands for the job: a saved file, else a passing one, else a text."""
    seen = [(kind, item) for kind, item in shown if _is_previewable(kind, item)]
    ranked = sorted(seen, key=lambda pair: (pair[0] == "text", pair[1].get("type") != "output"))
    return ranked[0][1] if ranked else None

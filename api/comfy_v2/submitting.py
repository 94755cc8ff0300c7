"""Makes a task of a job's submission: the workflow with its assets in their places, and what v2 says beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from api.body import parse_json
from api.comfy_v2.errors import not_found, unprocessable
from api.comfy_v2.labels import checked_labels
from api.comfy_v2.references import Path, pointer, references, resolved
from api.errors import InvalidRequestError
from api.requests import TASK_PREFIX, TaskRequest, from_v1, validated
from contract.config import Config, RuntimeConfig
from contract.inputs import MOST
from contract.task import RuntimeType, TaskType

Find = Callable[[str], Awaitable[str | None]]
"""Returns the `s3://` address of the caller's asset; None: there is none."""

_THREAD_THRESHOLD: Final = 64 * 1024


class ExtraData(BaseModel):
    """What nodes of partners need besides the workflow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key_comfy_org: str


class JobSubmission(BaseModel):
    """The body of `POST /api/v2/jobs`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workflow: dict[str, Any]
    extra_data: ExtraData | None = None
    metadata: Any = None


async def understood(body: bytearray, *, deployment: str | None, config: Config, find: Find) -> tuple[Any, TaskRequest]:
    """Returns what a submission is recognised by when it comes again, and its task.

    Args:
        body: of the request.
        deployment: the runtime that its address names; None: the first one that is a ComfyUI.
        config: of the deployment.
        find: the caller's assets.

    Raises:
        ApiError: 400, 404 or 422.
    """
    runtime = runtime_for(deployment, config)
    large = len(body) > _THREAD_THRESHOLD
    submission = await asyncio.to_thread(_read, body) if large else _read(body)
    named = references(submission.workflow)
    places = await _found(named, find)

    def make() -> TaskRequest:
        return _task(submission, runtime, places, config)

    task = await asyncio.to_thread(make) if large else make()
    return {"runtime": runtime.name, **submission.model_dump(mode="json")}, task


def runtime_for(deployment: str | None, config: Config) -> RuntimeConfig:
    """Returns the runtime of a submission.

    Raises:
        ApiError: 404, there is none of this name; 422, it is no ComfyUI, or there is none at all.
    """
    known = [item for item in config.runtimes if item.type is RuntimeType.COMFYUI]
    names = ", ".join(item.name for item in known) or "none"
    if deployment is None:
        if not known:
            raise unprocessable("invalid_request", "no runtime of this service is of type comfyui")
        return known[0]
    runtime = config.runtime(deployment)
    if runtime is None:
        raise not_found(f"there is no deployment {deployment[:80]!r}; known are {names}", id=deployment[:80])
    if runtime.type is not RuntimeType.COMFYUI:
        raise unprocessable(
            "invalid_request", f"deployment {runtime.name} is of type {runtime.type}; workflows run on {names}"
        )
    return runtime


def _read(body: bytearray) -> JobSubmission:
    document = parse_json(body)
    workflow = document.get("workflow") if isinstance(document, dict) else None
    if not isinstance(workflow, dict):
        raise unprocessable("invalid_workflow", "the body must be an object with a `workflow` in API format")
    if isinstance(workflow.get("nodes"), list) and "links" in workflow:
        raise unprocessable(
            "workflow_format_ui", "the workflow is as the editor saves it; export it with 'Export (API)'"
        )
    return validated(JobSubmission, document)


async def _found(named: Mapping[Path, str], find: Find) -> dict[Path, str]:
    """Returns the address for each place that names an asset.

    Raises:
        ApiError: 422, one is not the caller's, or they are too many.
    """
    if len(named) > MOST:
        raise unprocessable("invalid_workflow", f"a workflow may name at most {MOST} assets; found {len(named)}")
    wanted = list(dict.fromkeys(named.values()))
    addresses = dict(zip(wanted, await asyncio.gather(*map(find, wanted)), strict=True))
    missing = [asset[:80] for asset, address in addresses.items() if address is None]
    if missing:
        raise unprocessable(
            "missing_asset",
            f"there are no such assets, or they have expired: {', '.join(missing)}",
            missing_ids=missing,
        )
    return {path: address for path, asset in named.items() if (address := addresses[asset]) is not None}


def _task(submission: JobSubmission, runtime: RuntimeConfig, places: Mapping[Path, str], config: Config) -> TaskRequest:
    workflow = resolved(submission.workflow, places) if places else submission.workflow
    extra = submission.extra_data
    content = {"prompt": workflow, "extra_data": extra.model_dump()} if extra is not None else workflow
    before = ("prompt",) if extra is not None else ()
    metadata: dict[str, Any] = {
        "runtime": runtime.name,
        "tasktype": TaskType.PIPELINE,
        "prefix": TASK_PREFIX,
        "context": checked_labels(submission.metadata) if submission.metadata is not None else None,
    }
    if places:
        # An asset is a file wherever it stands, whatever the node says of the input.
        metadata["inputs"] = {"fetch": [pointer((*before, *path)) for path in places]}
    try:
        return from_v1({"task": {"metadata": metadata, "content": content}}, config)
    except InvalidRequestError as error:
        message = error.message.replace("task.content.prompt", "workflow").replace("task.content", "workflow")
        raise unprocessable("invalid_workflow", message) from error

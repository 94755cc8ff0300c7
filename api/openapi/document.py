"""The OpenAPI 3.1 document; written here, because the routes read raw bodies (for speed, and for their errors)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import schemas
from api.kept import Retry
from api.openapi import dead_letters, operations, submitting, tasks, uploads, webhooks
from api.openapi.build import Build
from api.part_uploads import WantedUpload
from api.requests import RequestTask, RequestV1, RequestV1Alpha1, RequestV1Alpha2
from api.routes.dead_letters import ChosenLetters
from contract.config import Config

DESCRIPTION: Final = """Asynchronous image generation with Stable Diffusion.

A task is accepted at once; its images come later. Ask `GET /v1/tasks/{id}`, follow `GET /v1/tasks/{id}/events`, or
subscribe to the callback topic.

`/v1` refuses keys that it does not know. The other routes ignore them, as the reference does, and name them in the
answer's header `X-Darkroom-Warning`.

An API key sees the tasks of its own tenant alone.

Every answer that is no success has one shape: `{"error": {"code", "message", "details"}}`.
"""

_REQUESTS: Final[tuple[type[BaseModel], ...]] = (
    RequestV1,
    RequestV1Alpha2,
    RequestV1Alpha1,
    RequestTask,
    ChosenLetters,
    Retry,
    WantedUpload,
)
_ANSWERS: Final[tuple[type[BaseModel], ...]] = (
    schemas.Error,
    schemas.AcceptedV1Alpha2,
    schemas.AcceptedV1Alpha1,
    schemas.AcceptedTask,
    schemas.TaskState,
    schemas.AcceptedV1,
    schemas.Task,
    schemas.TaskList,
    schemas.SubmissionList,
    schemas.KeptRequest,
    schemas.RuntimeList,
    schemas.RuntimeAgents,
    schemas.Usage,
    schemas.RuntimeEnvironment,
    schemas.Uploaded,
    schemas.BegunUpload,
    schemas.UploadPart,
    schemas.DeadLetterList,
    schemas.SentBack,
    schemas.Deleted,
    schemas.ConvertedWorkflow,
    schemas.WebhookDeliveries,
    schemas.WebhookDelivery,
    schemas.WebhookSecrets,
    schemas.Health,
    schemas.Ready,
)
_PARTS: Final = (submitting, uploads, tasks, dead_letters, webhooks, operations)
"""In the order in which a reader meets their paths."""


def openapi_document(config: Config, *, root_path: str, keys_needed: bool, sample_image: str = "") -> dict[str, Any]:
    """Returns the document.

    Args:
        config: its runtimes are named in descriptions.
        root_path: the gateway's prefix, or nothing.
        keys_needed: whether an API key is required.
        sample_image: the picture of the examples; empty: the reference documents' own.
    """
    references, definitions = models_json_schema(
        [(model, "validation") for model in _REQUESTS] + [(model, "serialization") for model in _ANSWERS],
        ref_template="#/components/schemas/{model}",
    )
    for name in ("MetadataV1", "MetadataV1Alpha2"):
        definitions["$defs"][name]["properties"]["runtime"]["enum"] = [runtime.name for runtime in config.runtimes]
    schema_of = {model: reference for (model, _), reference in references.items()}
    build = Build(schema_of, keys_needed=keys_needed, sample_image=sample_image)
    runtimes = ", ".join(f"`{runtime.name}` ({runtime.type})" for runtime in config.runtimes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Darkroom",
            "version": "1",
            "description": f"{DESCRIPTION}\nRuntimes of this deployment: {runtimes}.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root_path or "/"}],
        "tags": [
            {"name": "submit", "description": "Accept a task."},
            {"name": "tasks", "description": "List, follow and cancel them."},
            {"name": "letters", "description": "See to tasks that nobody could run."},
            {"name": "operations", "description": "Probes and metrics."},
        ],
        "paths": _together(part.paths(build) for part in _PARTS),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }


def _together(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Returns the paths of several parts, which may share one."""
    paths: dict[str, Any] = {}
    for part in parts:
        for path, operations_of in part.items():
            paths.setdefault(path, {}).update(operations_of)
    return paths

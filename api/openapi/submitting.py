"""How tasks are submitted, and what is made ready for that."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from api import examples, schemas
from api.kept import Retry
from api.openapi.build import Build
from api.openapi.parameters import COMFYUI, IDEMPOTENCY_KEY, TASK_ID, WAIT
from api.requests import RequestTask, RequestV1, RequestV1Alpha1, RequestV1Alpha2

_NOT_ACCEPTED: Final = """\
AWS is out of reach, or this server is stopping. `details.fate` is `not_accepted` (this submission will not run, and
nobody is called back for it) or `unknown` (it may run). Send the same request again with the same task id, or with the
one in `details.id`: it is accepted as soon as AWS is back, and the task runs once. Where several processes serve this
API, only an `Idempotency-Key` lets an `unknown` one run once whichever of them is asked. The code `busy` means that too
many large bodies came at once: this submission will not run."""


def paths(build: Build) -> dict[str, Any]:
    """Returns the operations of each path."""
    v1_examples = {**examples.V1ALPHA2, "extra-batch-images": examples.EXTRA_BATCH}
    location = {"headers": {"Location": {"description": "The task.", "schema": {"type": "string"}}}}
    answers = {
        200: build.json("Accepted, and over within `wait`.", schemas.Task, **location),
        202: build.json("Accepted.", schemas.AcceptedV1, **location),
    }
    return {
        "/v1/tasks": {
            "post": _submit(
                build,
                "submitTask",
                "Submit a task",
                _body(build, RequestV1, v1_examples),
                answers,
                parameters=[WAIT, IDEMPOTENCY_KEY],
            ),
        },
        "/v1/tasks/{task_id}/retry": {
            "post": _submit(
                build,
                "retryTask",
                "Send a task again that has ended",
                {"required": False, "content": {"application/json": {"schema": build.schema_of[Retry]}}},
                answers,
                403,
                404,
                description="A new submission of the same id, with the request as it is kept; without a body as it "
                "was. 409 has the code `not_ended` while the task runs, or `request_incomplete` where it had secrets.",
                parameters=[TASK_ID, WAIT, IDEMPOTENCY_KEY],
            )
        },
        "/v1/runtimes/{runtime}/workflow": {
            "post": build.operation(
                "convertWorkflow",
                "Make a task of a workflow",
                {200: build.json("The workflow in API form, and what can be set in it.", schemas.ConvertedWorkflow)},
                400,
                404,
                408,
                409,
                413,
                415,
                503,
                tag="submit",
                description="The body is the file itself, with its Content-Type: a ComfyUI workflow as JSON, in API "
                "form or as the editor saves it, or a PNG, WebP, JPEG, MP4, WebM, FLAC, Opus or MP3 that ComfyUI has "
                "saved. Nothing is submitted.",
                parameters=[COMFYUI],
                body={
                    "required": True,
                    "content": {
                        "application/json": {"schema": {"type": "object"}},
                        "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}},
                    },
                },
            )
        },
        "/v1alpha2": {
            "post": _submit(
                build,
                "submitV1Alpha2",
                "Submit a task (v1alpha2)",
                _body(build, RequestV1Alpha2, v1_examples),
                {200: build.json("Accepted.", schemas.AcceptedV1Alpha2)},
            )
        },
        "/v1alpha1": {
            "post": _submit(
                build,
                "submitV1Alpha1",
                "Submit a task (v1alpha1)",
                _body(build, RequestV1Alpha1, examples.V1ALPHA1),
                {200: build.json("Accepted.", schemas.AcceptedV1Alpha1)},
                description="SD Web UI only. The runtime is the one that holds the checkpoint, else a dynamic one.",
            )
        },
        "/task": {
            "post": _submit(
                build,
                "submitRuntimeRequest",
                "Submit one of the runtimes' own requests",
                _body(build, RequestTask, examples.TASK),
                {200: build.json("Accepted.", schemas.AcceptedTask)},
            ),
        },
    }


def _submit(
    build: Build, name: str, summary: str, body: dict[str, Any], answers: dict[int, Any], *faults: int, **more: Any
) -> dict[str, Any]:
    """Returns an operation that accepts a task."""
    every = (400, 408, 409, 413, 415, 503, *faults)
    operation = build.operation(name, summary, answers, *every, tag="submit", body=body, **more)
    operation["responses"]["503"]["description"] = _NOT_ACCEPTED
    return operation


def _body(build: Build, model: type[BaseModel], sent: dict[str, Any]) -> dict[str, Any]:
    """Returns a body that is required, with examples of it by their names."""
    named = {
        key: {"summary": key, "value": examples.with_picture(value, build.sample_image)} for key, value in sent.items()
    }
    media = {"schema": build.schema_of[model], "examples": named}
    return {"required": True, "content": {"application/json": media}}

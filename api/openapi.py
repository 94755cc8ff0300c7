"""The OpenAPI 3.1 document; written here, because the routes read raw bodies (for speed, and for their errors)."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from api import examples, schemas
from api.kept import Retry
from api.lists import MOST, USUAL
from api.requests import RequestTask, RequestV1, RequestV1Alpha1, RequestV1Alpha2
from api.routes.dead_letters import ChosenLetters
from contract.config import Config
from contract.record import Status
from contract.task import TaskType

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
    schemas.Uploaded,
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

_FAULTS: Final = {
    400: "Malformed or invalid; the message names the field.",
    401: "No API key, or one that is not known.",
    403: "Only an admin's API key may name a tenant; or a page of an origin that is not allowed has sent it.",
    404: "There is no such task, or runtime.",
    405: "This path does not have this method.",
    408: "The body was too slow in coming.",
    409: "A conflict with how things stand.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "Too many requests with this key.",
    500: "A fault of ours; the log has it under the id in the answer.",
    503: "AWS is out of reach, or this server is stopping or busy.",
}
_NOT_ACCEPTED: Final = """\
AWS is out of reach, or this server is stopping. `details.fate` is `not_accepted` (this submission will not run, and
nobody is called back for it) or `unknown` (it may run). Send the same request again with the same task id, or with the
one in `details.id`: it is accepted as soon as AWS is back, and the task runs once. Where several processes serve this
API, only an `Idempotency-Key` lets an `unknown` one run once whichever of them is asked. The code `busy` means that too
many large bodies came at once: this submission will not run."""
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}


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
    build = _Builder(schema_of, keys_needed=keys_needed, sample_image=sample_image)
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
        "paths": _paths(build),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "x-api-key"}},
        },
    }


class _Builder:
    def __init__(self, schema_of: dict[Any, Any], *, keys_needed: bool, sample_image: str) -> None:
        self._sample_image = sample_image
        self._schema_of = schema_of
        self._keys_needed = keys_needed

    def operation(
        self,
        name: str,
        summary: str,
        answers: dict[int, Any],
        *faults: int,
        tag: str,
        description: str = "",
        body: dict[str, Any] | None = None,
        parameters: list[dict[str, Any]] | None = None,
        guarded: bool = True,
    ) -> dict[str, Any]:
        """Returns one operation; what every guarded one may answer is added."""
        every = {*faults, 500, *((401, 429) if guarded else ())}
        responses = {str(status): answer for status, answer in answers.items()}
        responses |= {str(status): self._fault(status) for status in sorted(every)}
        operation: dict[str, Any] = {"operationId": name, "tags": [tag], "summary": summary, "responses": responses}
        if description:
            operation["description"] = description
        if parameters:
            operation["parameters"] = parameters
        if body:
            operation["requestBody"] = body
        if guarded and self._keys_needed:
            operation["security"] = [{"key": []}]
        return operation

    def submit(
        self,
        name: str,
        summary: str,
        request: type[BaseModel],
        sent: dict[str, Any],
        answers: dict[int, Any],
        **more: Any,
    ) -> dict[str, Any]:
        """Returns an operation that accepts a task."""
        media = {
            "schema": self._schema_of[request],
            "examples": {
                key: {"summary": key, "value": examples.with_picture(value, self._sample_image)}
                for key, value in sent.items()
            },
        }
        body = {"required": True, "content": {"application/json": media}}
        operation = self.operation(
            name, summary, answers, 400, 408, 409, 413, 415, 503, tag="submit", body=body, **more
        )
        operation["responses"]["503"]["description"] = _NOT_ACCEPTED
        return operation

    def on_letters(self, name: str, summary: str, answer: type[BaseModel], told: str, **more: Any) -> dict[str, Any]:
        """Returns an operation on dead letters that its body names."""
        body = {"required": True, "content": {"application/json": {"schema": self._schema_of[ChosenLetters]}}}
        faults = (400, 408, 413, 415, 503)
        return self.operation(name, summary, {200: self.json(told, answer)}, *faults, tag="letters", body=body, **more)

    def retry(self, answers: dict[int, Any]) -> dict[str, Any]:
        """Returns the operation that sends a task again."""
        operation = self.operation(
            "retryTask",
            "Send a task again that has ended",
            answers,
            *(400, 403, 404, 408, 409, 413, 415, 503),
            tag="submit",
            description="A new submission of the same id, with the request as it is kept; without a body as it was. "
            "409 has the code `not_ended` while the task runs, or `request_incomplete` where it had secrets.",
            body={"required": False, "content": {"application/json": {"schema": self._schema_of[Retry]}}},
            parameters=[_TASK_ID, _WAIT, _IDEMPOTENCY_KEY],
        )
        operation["responses"]["503"]["description"] = _NOT_ACCEPTED
        return operation

    def json(self, description: str, model: type[BaseModel], **more: Any) -> dict[str, Any]:
        """Returns a JSON answer."""
        return {
            "description": description,
            "content": {"application/json": {"schema": self._schema_of[model]}},
            **more,
        }

    def _fault(self, status: int) -> dict[str, Any]:
        headers = {"headers": _RETRY_AFTER} if status in {429, 503} else {}
        return self.json(_FAULTS[status], schemas.Error, **headers)


_TASK_ID: Final = {
    "name": "task_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "The task's id.",
}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    "description": "The same key with the same body happens once, however often it is sent; with another body: 409.",
}
_COMFYUI: Final = {
    "name": "runtime",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
    "description": "A runtime of type comfyui.",
}
_WAIT: Final = {
    "name": "wait",
    "in": "query",
    "required": False,
    "schema": {"type": "number", "minimum": 0, "maximum": 60, "default": 0},
    "description": "Seconds to wait for the end of the task: 200 if it comes in time, otherwise 202. The server may "
    "wait shorter.",
}
_NAME: Final = {
    "name": "name",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "The file's name, of which the ending counts; otherwise it follows from the Content-Type.",
}
_RUNTIME: Final = {
    "name": "runtime",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "Only this one's.",
}
_TENANT: Final = {
    "name": "tenant",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "For an admin's API key: whose task is meant, where it is another one than the key's own.",
}
_LISTING: Final = """\
Each task is listed once, where its newest submission is. With `status=failed`, `status=cancelled` or both, the order is
that of their ends. A page may be shorter than `limit` although there is a `next`: states have to be looked for."""
_FILTERS: Final = [
    {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
    for name, schema, description in (
        ("status", {"type": "string"}, f"With commas between them: {', '.join(Status)}."),
        ("runtime", {"type": "string"}, "Names of runtimes, with commas between them."),
        ("tasktype", {"type": "string"}, f"With commas between them: {', '.join(TaskType)}."),
        ("since", {"type": "string", "format": "date-time"}, "Submitted then or later."),
        ("until", {"type": "string", "format": "date-time"}, "Submitted before."),
        ("id_prefix", {"type": "string"}, "How the task's id begins."),
        ("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL}, "Tasks of a page."),
        ("cursor", {"type": "string"}, "`next` of the page before."),
    )
]
_SUBMISSION: Final = {
    "name": "submission",
    "in": "query",
    "required": False,
    "schema": {"type": "string"},
    "description": "An earlier submission of the task; left out: the newest one.",
}
_DELIVERY: Final = {
    "name": "number",
    "in": "path",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
    "description": "The delivery's `n`.",
}
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The id of the last event seen; a client that knows the end is answered with 204.",
}
_LAST_SEEN: Final = {**_LAST_EVENT_ID, "description": "The id of the last event seen."}


def _text(description: str, media_type: str) -> dict[str, Any]:
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


def _paths(build: _Builder) -> dict[str, Any]:
    v1_examples = {**examples.V1ALPHA2, "extra-batch-images": examples.EXTRA_BATCH}
    location = {"headers": {"Location": {"description": "The task.", "schema": {"type": "string"}}}}
    return {
        "/v1/tasks": {
            "post": build.submit(
                "submitTask",
                "Submit a task",
                RequestV1,
                v1_examples,
                {
                    200: build.json("Accepted, and over within `wait`.", schemas.Task, **location),
                    202: build.json("Accepted.", schemas.AcceptedV1, **location),
                },
                parameters=[_WAIT, _IDEMPOTENCY_KEY],
            ),
            "get": build.operation(
                "listTasks",
                "List the tasks",
                {200: build.json("The tasks of the API key's tenant, the newest first.", schemas.TaskList)},
                400,
                403,
                503,
                tag="tasks",
                description=_LISTING,
                parameters=[*_FILTERS, _TENANT],
            ),
        },
        "/v1/tasks/{task_id}": {
            "get": build.operation(
                "getTask",
                "Ask for a task",
                {200: build.json("How it stands.", schemas.Task)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[_TASK_ID, _TENANT],
            ),
            "delete": build.operation(
                "cancelTask",
                "Cancel a task",
                {
                    200: build.json("It had not begun, and will not; its callback is out.", schemas.Task),
                    202: build.json("It runs; its agent was asked to stop it.", schemas.Task),
                },
                403,
                404,
                409,
                503,
                tag="tasks",
                parameters=[_TASK_ID, _TENANT],
            ),
        },
        "/v1/tasks/{task_id}/events": {
            "get": build.operation(
                "followTask",
                "Follow a task",
                {
                    200: _text("Server-sent events named after the states; data is the task.", "text/event-stream"),
                    204: {"description": "The client has seen the end."},
                },
                403,
                404,
                503,
                tag="tasks",
                description="Ends when the task has ended.",
                parameters=[_TASK_ID, _TENANT, _LAST_EVENT_ID],
            )
        },
        "/v1/tasks/{task_id}/request": {
            "get": build.operation(
                "getRequest",
                "Ask for what a task asked for",
                {200: build.json("As it was sent; its secrets are left out.", schemas.KeptRequest)},
                403,
                404,
                503,
                tag="tasks",
                description="404 with the code `request_not_kept` says why it is not there.",
                parameters=[_TASK_ID, _TENANT],
            )
        },
        "/v1/tasks/{task_id}/retry": {
            "post": build.retry(
                {
                    200: build.json("Accepted, and over within `wait`.", schemas.Task, **location),
                    202: build.json("Accepted.", schemas.AcceptedV1, **location),
                }
            )
        },
        "/v1/tasks/{task_id}/submissions": {
            "get": build.operation(
                "listSubmissions",
                "Ask for a task's earlier submissions, too",
                {200: build.json("The newest first; of those that have ended, the last 20.", schemas.SubmissionList)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[_TASK_ID, _TENANT],
            )
        },
        "/v1/events": {
            "get": build.operation(
                "followTasks",
                "Follow all tasks",
                {
                    200: _text(
                        "Server-sent events: `task` (data is the task, its `context` and most of its images left out "
                        "where it is long: it has `shortened` then), `ready` (what is unfinished has been told), "
                        "`reset` (something may have been missed: read the tasks anew).",
                        "text/event-stream",
                    ),
                },
                400,
                403,
                503,
                tag="tasks",
                description="Begins with every unfinished task, or after `Last-Event-ID`. It does not end by itself.",
                parameters=[_TENANT, _LAST_SEEN],
            )
        },
        "/v1/dead-letters": {
            "get": build.operation(
                "listDeadLetters",
                "List the dead letters",
                {200: build.json("One's own, with reasons; for an admin: all.", schemas.DeadLetterList)},
                400,
                503,
                tag="letters",
                description="SQS has to hand them out to show them: a look takes a second, and at most 100 of each "
                "runtime are shown.",
                parameters=[_RUNTIME],
            ),
            "delete": build.on_letters(
                "deleteDeadLetters",
                "Delete dead letters",
                schemas.Deleted,
                "What became of each. One whose task has not ended stays: nothing else may be left that ends it.",
            ),
        },
        "/v1/dead-letters/redrive": {
            "post": build.on_letters(
                "redriveDeadLetters",
                "Send dead letters back",
                schemas.SentBack,
                "What became of each. A task that has failed runs as a new submission.",
            ),
        },
        "/v1/tasks/{task_id}/deliveries": {
            "get": build.operation(
                "listDeliveries",
                "List what was delivered to the webhook",
                {200: build.json("Each event with its attempts, in order.", schemas.WebhookDeliveries)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[_TASK_ID, _TENANT, _SUBMISSION],
            )
        },
        "/v1/tasks/{task_id}/deliveries/{number}/redeliver": {
            "post": build.operation(
                "redeliver",
                "Deliver to the webhook once more",
                {202: build.json("It is tried again, under the same id.", schemas.WebhookDelivery)},
                403,
                404,
                503,
                tag="tasks",
                parameters=[_TASK_ID, _DELIVERY, _TENANT, _SUBMISSION],
            )
        },
        "/v1/webhook-secrets": {
            "get": build.operation(
                "showWebhookSecrets",
                "Show the secrets that sign one's webhooks",
                {200: build.json("The newest first.", schemas.WebhookSecrets)},
                400,
                tag="tasks",
                description="Standard Webhooks' libraries verify a delivery with any of them.",
            )
        },
        "/v1/inputs": {
            "post": build.operation(
                "uploadInput",
                "Upload an input file",
                {201: build.json("Stored for 30 days; name it in tasks by `s3`.", schemas.Uploaded)},
                400,
                408,
                413,
                415,
                503,
                tag="submit",
                description="The body is the file itself, with its Content-Type; no form.",
                parameters=[_NAME],
                body={
                    "required": True,
                    "content": {
                        "application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}
                    },
                },
            )
        },
        "/v1/runtimes": {
            "get": build.operation(
                "listRuntimes",
                "List the runtimes",
                {200: build.json("The runtimes with the depth of their queues.", schemas.RuntimeList)},
                tag="tasks",
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
                parameters=[_COMFYUI],
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
            "post": build.submit(
                "submitV1Alpha2",
                "Submit a task (v1alpha2)",
                RequestV1Alpha2,
                v1_examples,
                {200: build.json("Accepted.", schemas.AcceptedV1Alpha2)},
            )
        },
        "/v1alpha1": {
            "post": build.submit(
                "submitV1Alpha1",
                "Submit a task (v1alpha1)",
                RequestV1Alpha1,
                examples.V1ALPHA1,
                {200: build.json("Accepted.", schemas.AcceptedV1Alpha1)},
                description="SD Web UI only. The runtime is the one that holds the checkpoint, else a dynamic one.",
            )
        },
        "/task": {
            "post": build.submit(
                "submitRuntimeRequest",
                "Submit one of the runtimes' own requests",
                RequestTask,
                examples.TASK,
                {200: build.json("Accepted.", schemas.AcceptedTask)},
            ),
            "get": build.operation(
                "queryTask",
                "Ask for a task",
                {200: build.json("How it stands.", schemas.TaskState)},
                400,
                403,
                404,
                503,
                tag="tasks",
                parameters=[
                    {
                        "name": "taskId",
                        "in": "query",
                        "required": True,
                        "schema": {"type": "string", "minLength": 1},
                        "description": "As answered by POST /task.",
                    },
                    _TENANT,
                ],
            ),
        },
        "/healthz": {
            "get": build.operation(
                "healthz",
                "Is the process alive?",
                {200: build.json("Yes.", schemas.Health)},
                tag="operations",
                guarded=False,
            )
        },
        "/readyz": {
            "get": build.operation(
                "readyz",
                "Can it do its work?",
                {200: build.json("Yes.", schemas.Ready)},
                503,
                tag="operations",
                guarded=False,
            )
        },
        "/metrics": {
            "get": build.operation(
                "metrics",
                "Prometheus metrics",
                {200: _text("Prometheus' text format.", "text/plain")},
                tag="operations",
                guarded=False,
            )
        },
    }

"""Translates the three dialects of a request into one task. Pure: no I/O, no clock.

The dialects are those of the reference documents: `v1alpha2` (also `/v1/tasks`), `v1alpha1`, and `/task`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError, WithJsonSchema

from api import deadlines
from api.errors import ApiError, InvalidRequestError
from api.unknown_keys import count_unknown, unknown_key, unknown_keys
from contract import openai
from contract.config import Config, RuntimeConfig
from contract.documents import encode
from contract.identifiers import Prefix, TaskId
from contract.inputs import InputRules, problems
from contract.runtimes import KINDS
from contract.tags import Tags
from contract.task import EnvironmentHash, RuntimeType, TaskType, requested_checkpoint
from contract.webhooks import Webhook

MAX_RULES_BYTES: Final = 32 * 1024
"""What a request says of its links travels in the message too, beside the context."""

MAX_CONTEXT_BYTES: Final = 64 * 1024
"""The context travels in the message, the record and the callback, and SNS gives each message 256 KiB."""

MAX_CHECKPOINT_BYTES: Final = 255
"""A checkpoint is a file name, and becomes a message attribute."""

_MOST_DETAILS: Final = 20
"""Faults of one request that an answer names."""

DEFAULT_SAVE_DIR: Final = "outputs"
"""v1alpha1's prefix when `save_dir` is left out, as in the reference's image-to-image request."""

TASK_PREFIX: Final = "output"
"""The prefix of results of `POST /task`, whose requests have no place for one."""

TASK_APIS: Final[Mapping[str, TaskType]] = {
    "/sdapi/v1/txt2img": TaskType.TEXT_TO_IMAGE,
    "/sdapi/v1/img2img": TaskType.IMAGE_TO_IMAGE,
    "/sdapi/v1/extra-single-image": TaskType.EXTRA_SINGLE_IMAGE,
    "/sdapi/v1/extra-batch-images": TaskType.EXTRA_BATCH_IMAGES,
    "/prompt": TaskType.PIPELINE,
}
"""The runtimes' own paths that `POST /task` accepts as `api`."""

V1ALPHA1_TYPES: Final = (TaskType.TEXT_TO_IMAGE, TaskType.IMAGE_TO_IMAGE)

_BESIDE_A_WORKFLOW: Final = ("extra_data", "partial_execution_targets")
"""What ComfyUI's `POST /prompt` takes beside the workflow and the agent passes on."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A request that may be accepted, whatever dialect it came in."""

    task_id: str | None
    """None: the API makes one."""
    runtime: RuntimeConfig
    task_type: TaskType
    prefix: str
    context: JsonValue
    content: dict[str, Any]
    checkpoint: str | None
    """The SD Web UI checkpoint that the content names."""
    inputs: InputRules | None = None
    """What the request says of single links."""
    webhook: Webhook | None = None
    """Where its events are delivered."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """By which costs are summed up."""
    environment: str | None = None
    """The hash of the environment that may run it; None: any."""
    start_by: datetime | float | None = None
    """By when it is to begin: a time, or seconds from its submission."""
    unknown: tuple[str, ...] = ()
    """A sentence for each key that nobody reads."""


def _check_context(context: Any) -> Any:
    """Refuses a context that is too long, before pydantic looks at each of its values."""
    size = 0 if context is None else len(encode(context))
    if size > MAX_CONTEXT_BYTES:
        raise ValueError(f"must be at most {MAX_CONTEXT_BYTES} bytes of JSON; found {size}")
    return context


def _check_rules(rules: InputRules, content: dict[str, Any], runtime: RuntimeConfig) -> None:
    """Refuses rules that would leave no room in the message, or that speak of nothing."""
    size = len(rules.model_dump_json().encode())
    if size > MAX_RULES_BYTES:
        raise InvalidRequestError(
            "task.metadata.inputs", f"must be at most {MAX_RULES_BYTES} bytes of JSON; found {size}"
        )
    for place, words in problems(rules, content, runtime.type):
        raise InvalidRequestError(f"task.metadata.inputs.{place}", words)


class WebhookV1(Webhook):
    """Where a task's events are delivered, and which; the address alone stands for its three ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _from_address(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class _Metadata(BaseModel):
    """Who the task is, where it runs, and where its results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[
        TaskId | None,
        Field(description="Task id; becomes part of the results' keys. A ULID is made when it is left out."),
    ] = None
    runtime: Annotated[str, Field(description="The name of the runtime used for the task.", min_length=1)]
    tasktype: Annotated[TaskType, Field(description="Task type.")]
    prefix: Annotated[Prefix, Field(description="The prefix (directory name) of the results in the S3 bucket.")]
    context: Annotated[
        JsonValue,
        BeforeValidator(_check_context),
        Field(description="Optional; any JSON of at most 64 KiB. It is part of the callback."),
    ] = None
    inputs: Annotated[
        InputRules | None,
        Field(description="Optional: links in the content that are fetched, or kept, against what is usual for them."),
    ] = None
    environment: Annotated[
        EnvironmentHash | None,
        Field(
            description="Optional: the hash of the environment that may run it (GET /v1/runtimes/{name}/environment). "
            "The task fails rather than being run by another."
        ),
    ] = None


class MetadataV1(_Metadata):
    """Who the task is, where it runs, and where its results go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    webhook: Annotated[
        WebhookV1 | None,
        BeforeValidator(_from_address, json_schema_input_type=str | WebhookV1 | None),
        Field(description="Optional: an https:// address that is told of the task's events (docs/webhooks.md)."),
    ] = None
    tags: Annotated[
        Tags | None,
        Field(description="Optional: up to 8 short words of yours by their names; costs are summed up by them."),
    ] = None
    start_by: Annotated[
        datetime | float | None,
        BeforeValidator(deadlines.parse_start_by),
        WithJsonSchema(deadlines.SCHEMA),
        Field(description="Optional: a time, or seconds from now; if no attempt has begun by then, it is `expired`."),
    ] = None


class MetadataV1Alpha2(_Metadata):
    """The metadata of `v1alpha2`, where the id is required."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: Annotated[TaskId, Field(description="Task id; becomes part of the results' keys.")]


class _Task[M: _Metadata](BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    metadata: M
    content: Annotated[dict[str, Any], Field(description="The runtime's own request, passed on as it is.")]


class _LenientTask(_Task[MetadataV1Alpha2]):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RequestV1(BaseModel):
    """The body of `POST /v1/tasks`."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="TaskV1")

    task: _Task[MetadataV1]


class RequestV1Alpha2(BaseModel):
    """The body of `POST /v1alpha2`."""

    model_config = ConfigDict(frozen=True, extra="ignore", title="TaskV1Alpha2")

    task: _LenientTask


class RoutingV1Alpha1(BaseModel):
    """The routing fields of `v1alpha1`, which lie among SD Web UI's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    task: Annotated[TaskType, Field(description="Task type: text-to-image or image-to-image.")]
    sd_model_checkpoint: Annotated[str, Field(min_length=1, description="The model's file name; finds the runtime.")]
    id_task: Annotated[TaskId, Field(description="Task id; becomes part of the results' keys.")]
    save_dir: Annotated[Prefix, Field(description="The prefix (directory name) of the results in the S3 bucket.")] = (
        DEFAULT_SAVE_DIR
    )
    image_link: Annotated[
        str | None,
        Field(description="The input image's address; required for image-to-image unless init_images is given."),
    ] = None


class RequestV1Alpha1(BaseModel):
    """The body of `POST /v1alpha1`: SD Web UI's request with the routing fields inside `alwayson_scripts`."""

    model_config = ConfigDict(frozen=True, extra="allow", title="TaskV1Alpha1")

    alwayson_scripts: RoutingV1Alpha1


class RequestTask(BaseModel):
    """The body of `POST /task`: one of the runtimes' own API paths, and its request."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    api: Annotated[str, Field(min_length=1, description="Such as /sdapi/v1/txt2img.")]
    payload: Annotated[dict[str, Any], Field(description="The body that the path expects.")]


def from_v1(document: Any, config: Config) -> TaskRequest:
    """Reads `{"task": {"metadata": …, "content": …}}`, in which the id may be left out.

    Raises:
        ApiError: 400, naming the field.
    """
    if isinstance(document, dict):
        _refuse_crowds(RequestV1, document)
    return _from_task(validated(RequestV1, document).task, config)


def from_v1alpha2(document: Any, config: Config) -> TaskRequest:
    """Reads `{"task": {"metadata": …, "content": …}}`.

    Raises:
        ApiError: 400, naming the field.
    """
    request = _from_task(validated(RequestV1Alpha2, document).task, config)
    return replace(request, unknown=unknown_keys(RequestV1Alpha2, document))


def from_v1alpha1(document: Any, config: Config) -> TaskRequest:
    """Reads an SD Web UI request that carries its routing fields in `alwayson_scripts`.

    The content is the whole document: the agent takes the routing fields out before the runtime sees it.

    Raises:
        ApiError: 400, naming the field.
    """
    routing = validated(RequestV1Alpha1, document).alwayson_scripts
    if routing.task not in V1ALPHA1_TYPES:
        raise InvalidRequestError(
            "alwayson_scripts.task",
            f"v1alpha1 accepts {_listed(V1ALPHA1_TYPES)}; {routing.task} needs v1alpha2",
            allowed=list(V1ALPHA1_TYPES),
        )
    if routing.task is TaskType.IMAGE_TO_IMAGE and not routing.image_link and not document.get("init_images"):
        raise InvalidRequestError(
            "alwayson_scripts.image_link", "is required for image-to-image, unless init_images holds the image"
        )
    checkpoint = routing.sd_model_checkpoint
    _checked_checkpoint("alwayson_scripts.sd_model_checkpoint", checkpoint)
    return TaskRequest(
        task_id=routing.id_task,
        runtime=_runtime_for_checkpoint("alwayson_scripts.sd_model_checkpoint", checkpoint, config),
        task_type=routing.task,
        prefix=routing.save_dir,
        context=None,
        content=document,
        checkpoint=checkpoint,
        # What belongs to SD Web UI's scripts are objects.
        unknown=unknown_keys(
            RoutingV1Alpha1,
            {key: value for key, value in (routing.model_extra or {}).items() if not isinstance(value, dict)},
            "alwayson_scripts.",
        ),
    )


def from_task(document: Any, config: Config) -> TaskRequest:
    """Reads `{"api": …, "payload": …}`; the runtime follows from the payload's checkpoint, or is the first of its type.

    Raises:
        ApiError: 400, naming the field.
    """
    request = validated(RequestTask, document)
    path = "/" + request.api.strip("/")
    task_type = TASK_APIS.get(path)
    if task_type is None:
        raise InvalidRequestError(
            "api", f"unknown path {_shown(request.api)}; known are {_listed(TASK_APIS)}", allowed=list(TASK_APIS)
        )
    content, checkpoint = request.payload, None
    if task_type is TaskType.PIPELINE:
        content = _from_prompt(content)
        runtime = _first_of_type("api", RuntimeType.COMFYUI, config)
    else:
        checkpoint = _checked_checkpoint("payload", requested_checkpoint(content))
        runtime = (
            _first_of_type("api", RuntimeType.SDWEBUI, config)
            if checkpoint is None
            else _runtime_for_checkpoint("payload.override_settings.sd_model_checkpoint", checkpoint, config)
        )
    return TaskRequest(
        task_id=None,
        runtime=runtime,
        task_type=task_type,
        prefix=TASK_PREFIX,
        context=None,
        content=content,
        checkpoint=checkpoint,
        unknown=unknown_keys(RequestTask, document),
    )


def _from_prompt(payload: dict[str, Any]) -> dict[str, Any]:
    """Returns what of a body of ComfyUI's own `POST /prompt` is the task: its ids and its place in the queue are not.

    Raises:
        ApiError: 400, naming the field.
    """
    workflow = payload.get("prompt", payload)
    _check_workflow("payload.prompt", workflow)
    besides = {name: payload[name] for name in _BESIDE_A_WORKFLOW if payload.get(name) is not None}
    return {"prompt": workflow, **besides} if besides and workflow is not payload else workflow


def _from_task(task: _Task[Any], config: Config) -> TaskRequest:
    metadata: _Metadata = task.metadata
    runtime = config.runtime(metadata.runtime)
    if runtime is None:
        names = [known.name for known in config.runtimes]
        raise InvalidRequestError(
            "task.metadata.runtime",
            f"unknown runtime {_shown(metadata.runtime)}; known are {_listed(names)}",
            allowed=names,
        )
    if metadata.tasktype not in KINDS[runtime.type].task_types:
        accepted = sorted(KINDS[runtime.type].task_types)
        raise InvalidRequestError(
            "task.metadata.tasktype",
            f"runtime {runtime.name} is of type {runtime.type}, which accepts {_listed(accepted)}; "
            f"found {metadata.tasktype}",
            allowed=accepted,
        )
    checkpoint = None
    if runtime.type is RuntimeType.COMFYUI:
        _check_workflow("task.content", task.content)
    elif runtime.type is RuntimeType.INVOKEAI:
        _check_graph("task.content", task.content)
    elif runtime.type is RuntimeType.OPENAI and metadata.tasktype is TaskType.PIPELINE:
        for place, words in openai.problems(task.content):
            raise InvalidRequestError(f"task.content.{place}".rstrip("."), words)
    elif runtime.type is RuntimeType.SDWEBUI:
        checkpoint = _checked_checkpoint("task.content", requested_checkpoint(task.content))
    if metadata.inputs is not None:
        _check_rules(metadata.inputs, task.content, runtime)
    return TaskRequest(
        task_id=metadata.id,
        runtime=runtime,
        task_type=metadata.tasktype,
        prefix=metadata.prefix,
        context=metadata.context,
        content=task.content,
        checkpoint=checkpoint,
        inputs=metadata.inputs,
        environment=metadata.environment,
        webhook=metadata.webhook if isinstance(metadata, MetadataV1) else None,
        tags=(metadata.tags or {}) if isinstance(metadata, MetadataV1) else {},
        start_by=metadata.start_by if isinstance(metadata, MetadataV1) else None,
    )


_Model = TypeVar("_Model", bound=BaseModel)


def validated(model: type[_Model], document: Any) -> _Model:  # noqa: UP047 - reads the same
    """Returns a body as a model has it.

    Raises:
        ApiError: 400, naming the fields.
    """
    if not isinstance(document, dict):
        raise InvalidRequestError("body", "must be a JSON object")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        details = [
            {
                "field": ".".join(_part(part) for part in item["loc"] if part != "[key]") or "body",
                "message": _sentence(item, model),
            }
            for item in error.errors(include_url=False, include_input=False)[:_MOST_DETAILS]
        ]
        summary = "; ".join(f"{detail['field']}: {detail['message']}" for detail in details)
        raise ApiError(400, "invalid_request", summary, details=details) from error


def _refuse_crowds(model: type[BaseModel], document: Mapping[str, Any]) -> None:
    """Refuses more unknown keys than an answer names, before pydantic makes an error of each.

    Raises:
        ApiError: 400.
    """
    if count_unknown(model, document) > _MOST_DETAILS:
        sentences = unknown_keys(model, document)
        raise InvalidRequestError("body", f"has too many unknown keys: {'; '.join(sentences)}")


def _sentence(item: Any, model: type[BaseModel]) -> str:
    if item["type"] == "missing":
        return "is required and missing"
    if item["type"] == "extra_forbidden":
        *path, key = item["loc"]
        return unknown_key(str(key), _fields_at(model, path))
    if item["type"] in {"model_type", "dict_type"}:
        return "must be a JSON object"
    if item["type"] == "too_long":
        return f"must have at most {item['ctx']['max_length']} entries"
    message: str = item["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _fields_at(model: Any, path: list[str | int]) -> list[str]:
    """Returns the keys that a model within a model has; none where the path leaves the models."""
    for name in path:
        fields = getattr(model, "model_fields", {})
        model = fields[name].annotation if name in fields else None
        # Of one that may be left out: what it is otherwise.
        model = next((item for item in get_args(model) if hasattr(item, "model_fields")), model)
    return list(getattr(model, "model_fields", ()))


def _runtime_for_checkpoint(field: str, checkpoint: str, config: Config) -> RuntimeConfig:
    runtime = config.runtime_for_checkpoint(checkpoint)
    if runtime is None:
        known = [item.static_checkpoint for item in config.runtimes if item.static_checkpoint]
        raise InvalidRequestError(
            field,
            f"no runtime holds {_shown(checkpoint)} and none loads models on demand; known are {_listed(known)}",
            allowed=known,
        )
    return runtime


def _first_of_type(field: str, wanted: RuntimeType, config: Config) -> RuntimeConfig:
    runtime = next((item for item in config.runtimes if item.type is wanted), None)
    if runtime is None:
        names = [f"{item.name} ({item.type})" for item in config.runtimes]
        raise InvalidRequestError(field, f"needs a runtime of type {wanted}; known are {_listed(names)}", allowed=names)
    return runtime


def _checked_checkpoint(field: str, checkpoint: str | None) -> str | None:
    """Refuses a checkpoint that no file can have, and that SNS would refuse as a message attribute."""
    if checkpoint is None:
        return None
    if len(checkpoint.encode()) > MAX_CHECKPOINT_BYTES:
        raise InvalidRequestError(field, f"the checkpoint's name must be at most {MAX_CHECKPOINT_BYTES} bytes of UTF-8")
    if any(unicodedata.category(character) in {"Cc", "Cs", "Cn"} for character in checkpoint) or not checkpoint.strip():
        raise InvalidRequestError(field, "the checkpoint's name must not be blank or contain control characters")
    return checkpoint


def _check_workflow(field: str, content: Any) -> None:
    """Refuses what ComfyUI would certainly refuse: anything but an object of nodes that each name their class."""
    if isinstance(content, dict) and isinstance(content.get("prompt"), dict) and "class_type" not in content["prompt"]:
        field, content = f"{field}.prompt", content["prompt"]
    if not isinstance(content, dict) or not content:
        raise InvalidRequestError(
            field, "must be a workflow in API format: a non-empty object of nodes (ComfyUI: 'Export (API)')"
        )
    if isinstance(content.get("nodes"), list):
        raise InvalidRequestError(
            f"{field}.nodes", "are the editor's own format; export the workflow with 'Export (API)'"
        )
    for name, node in content.items():
        if not isinstance(node, dict):
            raise InvalidRequestError(
                f"{field}.{name[:80]}",
                "is no node: a workflow in API format is an object of nodes with class_type and inputs "
                "(ComfyUI: 'Export (API)')",
            )
        if not isinstance(node.get("class_type"), str) or not node["class_type"]:
            raise InvalidRequestError(f"{field}.{name[:80]}.class_type", "is required: it names the node's class")


def _check_graph(field: str, content: Any) -> None:
    """Refuses what InvokeAI would certainly refuse: anything but an object of nodes that each name their type."""
    for name in ("batch", "graph"):
        if isinstance(content, dict) and name in content:
            field, content = f"{field}.{name}", content[name]
    nodes = content.get("nodes") if isinstance(content, dict) else None
    if not isinstance(nodes, dict) or not nodes:
        raise InvalidRequestError(
            f"{field}.nodes", "must be a non-empty object of nodes: send the graph that InvokeAI's editor queues"
        )
    for name, node in nodes.items():
        if not isinstance(node, dict) or not isinstance(node.get("type"), str) or not node["type"]:
            raise InvalidRequestError(f"{field}.nodes.{name[:80]}.type", "is required: it names what the node does")


def _part(name: str | int) -> str:
    """Returns a part of a field's place, which may be a key of any length."""
    text = str(name)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _listed(values: Any) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _shown(value: str) -> str:
    return repr(value if len(value) <= 80 else f"{value[:77]}…")

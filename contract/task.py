"""The task as it travels from the API through SNS and SQS to the agent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import from_json, to_json

from contract.bounds import MESSAGE_BOUNDS, ExcessError, check_bounds
from contract.identifiers import Prefix, RuntimeName, TaskId, TaskRef, Tenant
from contract.inputs import InputRules
from contract.tags import Tags
from contract.webhooks import Webhook

SNS_MESSAGE_LIMIT: Final = 256 * 1024
"""Bytes of one SNS or SQS message, attributes counted (Amazon SNS quotas, "Message size")."""

INLINE_LIMIT: Final = SNS_MESSAGE_LIMIT - 4 * 1024
"""Bytes of task message that still travel inline; the rest of the limit is left to attributes."""


def message_bytes(message: str, attributes: Mapping[str, str]) -> int:
    """Returns the bytes of a message as SNS and SQS count them: names, types and values of its attributes too.

    Args:
        message: its body.
        attributes: all of the type `String`.
    """
    return len(message.encode()) + sum(len(f"{name}String{value}".encode()) for name, value in attributes.items())


_ENVIRONMENT: Final = re.compile(r"[0-9a-f]{64}")


def _check_environment(text: str) -> str:
    if not _ENVIRONMENT.fullmatch(text):
        raise ValueError("must be a hash of 64 hexadecimal digits in lower case")
    return text


EnvironmentHash = Annotated[
    str, AfterValidator(_check_environment), WithJsonSchema({"type": "string", "pattern": f"^{_ENVIRONMENT.pattern}$"})
]
"""Of an environment; see `contract.environment`."""


class RuntimeType(StrEnum):
    """The servers that an agent can drive."""

    SDWEBUI = "sdwebui"
    COMFYUI = "comfyui"
    INVOKEAI = "invokeai"
    HTTP = "http"
    """A server of one's own, by the contract in docs/conformance.md."""
    OPENAI = "openai"
    """A server of OpenAI's image API, such as vLLM-Omni, SGLang, LocalAI or NVIDIA NIM."""


class TaskType(StrEnum):
    """What a task asks of its runtime, under the names of the reference API."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    EXTRA_SINGLE_IMAGE = "extra-single-image"
    EXTRA_BATCH_IMAGES = "extra-batch-images"
    PIPELINE = "pipeline"


def _check_context(value: JsonValue) -> JsonValue:
    """Returns a context unchanged when a record that holds it can be written and read again.

    Raises:
        ValueError: it is nested too deeply, or holds half a character (a lone surrogate).
    """
    if value is not None:
        from_json(to_json([[[[value]]]]))  # a record holds it three levels down
    return value


def _in_utc(value: datetime | None) -> datetime | None:
    """Returns a moment that can be compared with others: a foreign publisher's may name no time zone, and is UTC."""
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Metadata(BaseModel):
    """Who a task is, where it goes, and where its results go."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: TaskId
    tenant: Tenant = ""
    """Whose task it is; empty: the shared space."""
    runtime: RuntimeName
    tasktype: TaskType
    prefix: Prefix
    context: Annotated[JsonValue, AfterValidator(_check_context)] = None
    submission: str = Field(default="", max_length=100)
    """A ULID for each accepted request; empty when someone else than our API published the message."""
    submitted_at: datetime | None = None
    start_by: Annotated[datetime | None, AfterValidator(_in_utc)] = None
    """No attempt begins from then on."""
    inputs: InputRules | None = None
    """What the request says of single links, against what the agent would take them for."""
    webhook: Webhook | None = None
    """For the record, should it be lost before an agent has the task."""
    tags: Tags | None = None
    """Likewise."""
    environment: EnvironmentHash | None = None
    """The one that may run it; None: any."""
    trace: str | None = Field(default=None, max_length=400)
    """The X-Ray trace header of the request (`Root=…;Parent=…;Sampled=…`)."""

    @property
    def ref(self) -> TaskRef:
        """Which task it is."""
        return TaskRef(self.id, self.tenant)


class TaskMessage(BaseModel):
    """One message of the task topic. Exactly one of `content` and `content_ref` is there."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    metadata: Metadata
    content: dict[str, Any] | None = None
    content_ref: str | None = Field(default=None, pattern=r"^s3://[^/]+/.+$")
    """Where the content lies when it is too large for SNS (the claim-check pattern)."""

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if (self.content is None) == (self.content_ref is None):
            raise ValueError("a task message has either 'content' or 'content_ref'")
        return self


class UnreadableMessageError(ValueError):
    """A queue message that is not a task message; its text says why."""


def parse_task_message(body: str | bytes) -> TaskMessage:
    """Reads a queue message's body, raw or inside SNS's own JSON envelope.

    Raises:
        UnreadableMessageError: it is not JSON, beyond a bound, or not a task message; the text names the fields.
    """
    try:
        check_bounds(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body, **MESSAGE_BOUNDS)
        document = json.loads(body)
    except ExcessError as error:
        raise UnreadableMessageError(f"the message is refused: {error}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableMessageError(f"the body is not JSON: {error}") from error
    if (
        isinstance(document, dict)
        and document.get("Type") == "Notification"
        and isinstance(document.get("Message"), str)
    ):
        # A subscription without raw delivery wraps the message (Amazon SNS, "HTTP/HTTPS notification JSON format").
        return parse_task_message(document["Message"])
    try:
        return TaskMessage.model_validate(document)
    except ValidationError as error:
        raise UnreadableMessageError(describe_validation_error(error)) from error


def describe_validation_error(error: ValidationError) -> str:
    """Returns one line that names each wrong field and says what is wrong with it, without the input."""
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'the message'}: {item['msg']}"
        for item in error.errors(include_url=False, include_input=False)
    )


def encode_task_message(message: TaskMessage, *, content: bytes | None = None) -> str:
    """Returns the JSON text that is published; fields without a value are left out, `context` is always there.

    Args:
        message: what is published.
        content: the message's content as JSON, from a caller that has encoded it already.

    U+FFFE and U+FFFF travel escaped: SQS refuses or replaces them (Amazon SQS, SendMessage, "MessageBody"). The control
    characters that it refuses too are escaped by JSON itself.
    """
    absent = {name for name, value in message.metadata if value is None and name != "context"}
    if not message.metadata.tenant:
        absent.add("tenant")
    metadata = message.metadata.model_dump_json(exclude=absent)
    if message.content is None:
        return escape_for_sqs(f'{{"metadata":{metadata},"content_ref":{to_json(message.content_ref).decode()}}}')
    text = (to_json(message.content) if content is None else content).decode()
    return escape_for_sqs(f'{{"metadata":{metadata},"content":{text}}}')


def escape_for_sqs(text: str) -> str:
    """Returns a JSON text with the two characters escaped that JSON lets through and SQS does not."""
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def requested_checkpoint(content: dict[str, Any]) -> str | None:
    """Returns the checkpoint that an SD Web UI request names, or None.

    The reference API puts it into `alwayson_scripts.sd_model_checkpoint`; SD Web UI's own place is
    `override_settings.sd_model_checkpoint`. The former wins.
    """
    for place in ("alwayson_scripts", "override_settings"):
        holder = content.get(place)
        if isinstance(holder, dict):
            name = holder.get("sd_model_checkpoint")
            if isinstance(name, str) and name:
                return name
    return None

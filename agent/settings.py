"""The agent's settings: one typed object, read from the environment."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agent.decisions import refusal
from agent.operations.pod import SERVICE_ACCOUNT
from agent.operations.recycling import RecycleBy
from agent.operations.warm_up import WarmUpRequest, read_warm_up
from agent.runtimes.allowance import MOST_BYTES
from contract.identifiers import RuntimeName
from contract.outbound import parse_origins
from contract.outputs import OutputRules
from contract.runtimes import KINDS, listed
from contract.task import RuntimeType
from contract.topology import VISIBILITY_TIMEOUT

_MAX_VISIBILITY: Final = 43_200
"""Seconds; Amazon SQS quotas, "Message visibility timeout"."""

_QUEUEING: Final = frozenset(runtime_type for runtime_type, kind in KINDS.items() if kind.queues)
"""Types whose adapters can have several runs at the server and stop each of them alone."""


class SettingsError(Exception):
    """Settings that cannot be used; one line for each faulty variable."""


class Settings(BaseSettings):
    """Everything that may be set. Each field is the environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    runtime_name: Annotated[RuntimeName, Field(description="name of the runtime, as in config.yaml")]
    runtime_type: Annotated[RuntimeType, Field(description=listed())]
    api_base_url: Annotated[
        str, Field(description="URL of the runtime, such as http://127.0.0.1:7860", pattern=r"^https?://[^/\s]+")
    ]
    runtime_token: Annotated[
        SecretStr, Field(description="sent to the runtime as `Authorization: Bearer`; nothing when empty")
    ] = SecretStr("")
    runtime_fake: Annotated[
        bool, Field(description="whether the runtime is a stand-in that runs no model; the task's record says so")
    ] = False
    runtime_image: Annotated[
        str, Field(description="container image of the runtime, best with its digest; a part of its environment")
    ] = ""
    models_folder: Annotated[
        Path | None,
        Field(
            description="where the agent sees the runtime's models, for their digests: they are computed in the "
            "background, and are a part of its environment"
        ),
    ] = None
    models_digests_file: Annotated[
        Path | None, Field(description="file that keeps these digests, lest the next agent compute them again")
    ] = None
    sqs_queue_url: Annotated[str, Field(description="URL of the runtime's queue", pattern=r"^https?://\S+$")]
    sqs_dlq_url: Annotated[
        str,
        Field(description="URL of the dead-letter queue; found by the queue's redrive policy when empty"),
    ] = ""
    sns_topic_arn: Annotated[str, Field(description="ARN of the callback topic", pattern=r"^arn:\S+$")]
    callback_errors: Annotated[
        bool,
        Field(description="whether the JSON of callbacks has `status` and `error` too; the API has the same setting"),
    ] = False
    webhook_queue_url: Annotated[
        str, Field(description="URL of the queue of webhooks, for events of runs; none are told when empty")
    ] = ""
    s3_bucket: Annotated[str, Field(description="bucket of results and task records", min_length=3)]
    dynamic_sd_model: Annotated[bool, Field(description="SD Web UI: whether a request may name its checkpoint")] = False
    input_s3_buckets: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="buckets that inputs may come from, besides S3_BUCKET; separated by commas"),
    ] = ()
    input_allowed_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="origins that inputs may come from although they are private; separated by commas"),
    ] = ()
    input_max_bytes: Annotated[int, Field(description="bytes that one input link may bring", gt=0)] = 32 * 1024 * 1024
    input_max_bytes_per_task: Annotated[int, Field(description="the same for all links of a task", gt=0)] = (
        64 * 1024 * 1024
    )
    input_max_links: Annotated[int, Field(description="different input links that a task may have", gt=0)] = 16
    input_timeout_seconds: Annotated[
        float, Field(description="seconds that one input link may take, redirects included", gt=0)
    ] = 30.0
    output_max_bytes: Annotated[
        int,
        Field(
            description="bytes that a run may answer with, all its outputs together; more fails the task. The agent "
            "needs up to four times as much memory",
            gt=0,
        ),
    ] = MOST_BYTES
    outputs: Annotated[
        OutputRules,
        NoDecode,
        Field(
            description="what becomes of results before they are stored: JSON, as `modelsRuntime[].outputs` in "
            "config.yaml (docs/marks.md)"
        ),
    ] = OutputRules()
    credentials_signer: Annotated[
        SecretStr,
        Field(
            description="outputs.contentCredentials: private key and certificates of the signer as PEM, or the path of "
            "a file with them; comes before outputs.signingSecretArn",
            validate_default=True,
        ),
    ] = SecretStr("")
    output_check_token: Annotated[
        SecretStr, Field(description="outputs.check: sent to it as `Authorization: Bearer`; nothing when empty")
    ] = SecretStr("")
    visibility_timeout: Annotated[
        int,
        Field(
            description="seconds after which another agent gets the task of one that was killed",
            ge=2,
            le=_MAX_VISIBILITY,
        ),
    ] = VISIBILITY_TIMEOUT
    prefetch: Annotated[int, Field(description="tasks made ready a moment before a run ends", ge=0, le=100)] = 1
    slots: Annotated[
        int,
        Field(
            description="runs that are at the runtime at once: 1, or 2 to let the next one wait there, so that the GPU "
            "need not wait while the server encodes an answer. A killed agent may then cost two runs instead of one, "
            "and SD Web UI repeats the waiting one after an interrupt, which names no run",
            ge=1,
            le=4,
        ),
    ] = 1
    grace_period_seconds: Annotated[
        float, Field(description="seconds that a running task may take to finish after SIGTERM", ge=0)
    ] = 50.0
    task_timeout_seconds: Annotated[
        float, Field(description="seconds after which a run is interrupted and the task fails", gt=0)
    ] = 1800.0
    warmup_request: Annotated[
        WarmUpRequest | None,
        NoDecode,
        Field(
            description='first prompt of a runtime that has come up, before any task: {"tasktype": …, "content": …}, '
            "or the path of a file with it"
        ),
    ] = None
    warmup_timeout_seconds: Annotated[
        float, Field(description="seconds after which the first prompt is given up, and tasks are received", gt=0)
    ] = 600.0
    recycle_by: Annotated[
        RecycleBy,
        Field(
            description="who restarts the runtime between tasks: nobody; exit: who sees this agent end with status 75; "
            "api: the runtime, when asked (SD Web UI: --api-server-stop, ComfyUI: ComfyUI-Manager); "
            "probe: who sees RECYCLE_FILE, or /runtimez answer 503, as a liveness probe of the runtime's container does"
        ),
    ] = RecycleBy.NOBODY
    recycle_file: Annotated[
        Path | None, Field(description="RECYCLE_BY=probe: file that is there while the runtime is to be restarted")
    ] = None
    recycle_after_tasks: Annotated[
        int, Field(description="runs after which the runtime is restarted; 0: never", ge=0)
    ] = 0
    recycle_above_rss_bytes: Annotated[
        int,
        Field(
            description="resident bytes of the runtime above which it is restarted; 0: never. Needs one that tells "
            "(SD Web UI, the project's image of ComfyUI, type http), or one on the same machine, of the same user",
            ge=0,
        ),
    ] = 0
    recycle_stuck_after_seconds: Annotated[
        float,
        Field(description="seconds that a runtime may go on with an interrupted run before it is restarted", gt=0),
    ] = 120.0
    status_interval_seconds: Annotated[
        float,
        Field(
            description="seconds between two notes to the API on what this agent does, if that changes; four times as "
            "long if not; 0: it tells nothing of itself",
            ge=0,
            le=3600,
        ),
    ] = 15.0
    agent_name: Annotated[
        str, Field(description="what it calls itself in them; POD_NAME when empty, or else the machine's name")
    ] = ""
    agent_version: Annotated[str, Field(description="what it calls its version in them, such as the image's tag")] = ""
    gpu_hour_usd: Annotated[
        Decimal | None,
        Field(
            description="USD that an hour of this agent's GPU costs; empty: what GPU_INSTANCE_TYPE says",
            ge=0,
            allow_inf_nan=False,
        ),
    ] = None
    gpu_instance_type: Annotated[
        str, Field(description="EC2 instance type of this agent's GPU, for its price; empty: no cost is counted")
    ] = ""
    gpu_capacity: Annotated[
        Literal["spot", "on_demand"], Field(description="how GPU_INSTANCE_TYPE is paid for: spot or on_demand")
    ] = "spot"
    gpus_per_instance: Annotated[
        int, Field(description="GPUs of GPU_INSTANCE_TYPE, each with an agent of its own", ge=1, le=16)
    ] = 1
    pod_name: Annotated[
        str, Field(description="Kubernetes: name of this pod, whose deletion cost follows the work (metadata.name)")
    ] = ""
    pod_namespace: Annotated[
        str, Field(description="Kubernetes: its namespace; the service account's when empty (metadata.namespace)")
    ] = ""
    kubernetes_service_host: Annotated[str, Field(description="set by Kubernetes")] = ""
    kubernetes_service_port: Annotated[int, Field(description="set by Kubernetes", ge=1, le=65535)] = 443
    service_account_folder: Annotated[str, Field(description="Kubernetes: where token and ca.crt lie")] = str(
        SERVICE_ACCOUNT
    )
    health_host: Annotated[str, Field(description="address of /healthz, /readyz and /metrics")] = "127.0.0.1"
    health_port: Annotated[int, Field(description="port of the same; 0 takes a free one", ge=0, le=65535)] = 8080
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="debug, info, warning or error")
    ] = "info"
    log_format: Annotated[Literal["json", "console"], Field(description="json or console")] = "json"
    otel_exporter_otlp_endpoint: Annotated[
        str, Field(description="OTLP/HTTP endpoint that gets the traces; no tracing when empty")
    ] = ""
    aws_region: Annotated[
        str,
        Field(
            description="region of queue, topic and bucket; AWS_DEFAULT_REGION does too",
            validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        ),
    ]
    aws_endpoint_url: Annotated[
        str, Field(description="URL of an emulator that stands in for AWS; AWS itself when empty")
    ] = ""

    @field_validator("input_s3_buckets", "input_allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("input_allowed_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_origins(value)
        return value

    @field_validator("warmup_request", mode="before")
    @classmethod
    def _read_warm_up(cls, value: object, info: ValidationInfo) -> object:
        if not isinstance(value, str):
            return value
        request = read_warm_up(value)
        if (runtime_type := info.data.get("runtime_type")) and (error := refusal(request.tasktype, runtime_type)):
            raise ValueError(error.message)
        return request

    @field_validator("outputs", mode="before")
    @classmethod
    def _read_json(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            raise ValueError(f"no JSON: {error}") from error

    @field_validator("credentials_signer")
    @classmethod
    def _must_be_there(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        rules, text = info.data.get("outputs"), value.get_secret_value().strip()
        if rules is None or not rules.content_credentials:
            return value
        if not text and not rules.signing_secret_arn:
            raise ValueError("outputs.contentCredentials needs a signer; set this, or outputs.signingSecretArn")
        if text and not text.startswith("-----") and not Path(text).is_file():
            raise ValueError("neither PEM nor a file that there is")
        return value

    @field_validator("slots")
    @classmethod
    def _must_queue(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("runtime_type") not in _QUEUEING:
            raise ValueError(f"only a runtime of type {listed(_QUEUEING)} lets runs wait; leave it at 1")
        return value

    @field_validator("recycle_after_tasks", "recycle_above_rss_bytes")
    @classmethod
    def _must_be_done_by_somebody(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("recycle_by") is RecycleBy.NOBODY:
            raise ValueError("nobody would restart the runtime; set RECYCLE_BY to exit, api or probe")
        return value

    @field_validator("log_level", "log_format", "runtime_type", "recycle_by", "gpu_capacity", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        SettingsError: a variable is missing or wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_line(item) for item in error.errors(include_url=False))) from error


def describe_settings() -> str:
    """Returns a table of every variable, its default, and what it is for."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if field.is_required():
            shown = "required"
        elif isinstance(default, OutputRules) or default in {"", (), None}:
            shown = "default: empty"
        else:
            shown = f"default: {str(default).lower() if isinstance(default, bool) else default}"
        lines.append(f"  {name.upper():<28} {field.description} ({shown})")
    return "\n".join(lines)


def _line(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"]).upper()
    field = Settings.model_fields.get(name.lower())
    hint = f" ({field.description})" if field is not None and field.description else ""
    if item["type"] == "missing":
        return f"{name} is not set{hint}"
    message = item["msg"].removeprefix("Value error, ")
    secret = field is not None and field.annotation is SecretStr
    found = ("set, but wrong" if item["input"] else "not set") if secret else repr(item["input"])
    return f"{name} is {found}: {message[:1].lower()}{message[1:]}{hint}"

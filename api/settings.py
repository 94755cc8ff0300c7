"""The settings of the API, one typed object read from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from api.auth import NamedKey, check_keys, parse_keys
from contract.hosts import AllowedHosts
from contract.origins import parse_origins
from contract.outbound import parse_receivers
from contract.task import SNS_MESSAGE_LIMIT
from contract.topology import EXPIRY, RETENTION
from contract.webhook_secrets import Secrets

MIB: Final = 1024 * 1024

_SHORTEST_SECRET: Final = 16


class SettingsError(Exception):
    """Settings that cannot be used; one line for each faulty variable."""


class Settings(BaseSettings):
    """Every variable the API reads. An empty variable counts as absent."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True, populate_by_name=True)

    config_file: Path = Path("config.yaml")
    """The deployment's config.yaml."""
    task_topic_arn: str
    """Where tasks are published."""
    callback_topic_arn: str
    """Where the callback of a task that was cancelled before it ran is published."""
    s3_bucket: str
    """The output bucket: records, payloads, results."""
    api_keys: Annotated[tuple[NamedKey, ...], NoDecode] = ()
    """`name=key,name2=key2`; a name is a tenant, and may have several keys. Neither these nor admins: open to all."""
    api_admin_keys: Annotated[tuple[NamedKey, ...], NoDecode] = ()
    """The same for keys that may read and cancel every tenant's tasks."""
    api_keys_shared: bool = False
    """All keys share one space of tasks, as one team wants it; each has a throttle of its own still."""
    gateway_secrets: Annotated[tuple[SecretStr, ...], NoDecode, Field(validation_alias="GATEWAY_SECRET")] = ()
    """A gateway in front has checked the API key, and proves itself by this secret; see `api/callers.py`. Two, with a
    comma between, while one replaces the other. The keys of `api_keys` are the ids of the gateway's keys then."""
    gateway_secret_arn: str = ""
    """The same, where AWS Secrets Manager has it: its current value and its previous one."""
    sample_image: str = ""
    """The address of a picture in the examples; empty: the reference documents' own, on the internet."""
    cdn_base_url: str = ""
    """When set, links to results are this address and the object's key instead of presigned S3 addresses."""
    public_s3_endpoint_url: str = ""
    """The S3 endpoint as clients reach it, for presigned links; empty: the one that the API uses."""
    callback_sink_url: str = ""
    """The callback sink as a browser reaches it: the web page shows what arrived there. Empty: there is none."""
    presigned_seconds: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = 3600
    """How long a presigned link works; SigV4 allows seven days at most."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: a free one."""
    cors_allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins of browser applications, instead of those of config.yaml; `*`: any."""
    cors_allow_credentials: bool = False
    """Whether such pages may send cookies, for a proxy in front that wants one; the API itself needs none."""
    allowed_hosts: str = ""
    """The host names that it answers to, with commas between them; see `contract/hosts.py`."""
    root_path: str = ""
    """A path that a gateway puts in front of every route, such as `/prod`; accepted with it and without."""
    max_body_bytes: Annotated[int, Field(ge=1024, le=256 * MIB)] = 20 * MIB
    """The largest request body."""
    task_message_bytes: Annotated[int, Field(ge=SNS_MESSAGE_LIMIT, le=4 * SNS_MESSAGE_LIMIT)] = SNS_MESSAGE_LIMIT
    """The largest message that the task topic takes (its attribute `MaximumMessageSize`)."""
    input_max_bytes: Annotated[int, Field(ge=1024, le=5 * 1024 * MIB)] = 32 * MIB
    """The largest file that `POST /v1/inputs` takes; what the agents' setting of this name lets in."""
    upload_max_bytes: Annotated[int, Field(ge=0, le=50 * 1024 * MIB)] = 0
    """The largest file that may come in parts; 0: `most_upload_bytes` decides."""
    request_seconds: Annotated[float, Field(gt=0, le=3600)] = 60
    """In which a request must have come; each 32 KiB of its body give one second more."""
    aws_endpoint_url: str = ""
    aws_region: Annotated[str, Field(validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))] = "us-east-1"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    otel_exporter_otlp_endpoint: str = ""
    """Where traces go; empty: no tracing."""
    grace_period_seconds: Annotated[int, Field(ge=0, le=300)] = 10
    """How long requests under way may take to end after SIGTERM."""
    max_event_streams: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Event streams and waiting submissions open at once; one API key gets half of them."""
    max_wait_seconds: Annotated[float, Field(ge=0, le=60)] = 60
    """How long `POST /v1/tasks?wait=` waits at most, whatever it asks for: less than a proxy in front does."""
    comfy_api: bool = False
    """Whether Comfy's own clients are served: its API v2, at `/api/v2` (docs/comfy-api.md)."""
    keep_requests: bool = True
    """Whether what a task asked for is kept for as long as its record, without its secrets, to be shown and retried."""
    callback_errors: bool = False
    """Whether the JSON of callbacks has `status` and `error` too; the agents have the same setting."""

    webhook_secrets: SecretStr = SecretStr("")
    """What signs webhooks; see `contract/webhook_secrets.py`. Empty: tasks may name none."""
    webhook_secrets_arn: str = ""
    """The same, where AWS Secrets Manager has it: its current value and its previous one."""
    webhook_allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Receivers that need be neither https nor public, with commas between them; the deliverer's setting too."""
    webhook_look_seconds: Annotated[float, Field(ge=0, le=900)] = 900
    """After which the deliverer looks at a task whose end it has not heard of; SQS delays for 15 minutes at most."""

    expiry_seconds: Annotated[float, Field(gt=0, le=RETENTION)] = EXPIRY
    """How long a task may take from its submission to its end; SQS forgets its message after 14 days."""
    expiry_sweep_seconds: Annotated[float, Field(gt=0)] = 6 * 3600
    """Between two looks for tasks that took longer."""
    deadline_sweep_seconds: Annotated[float, Field(gt=0)] = 300
    """Between two looks for tasks with a `start_by` that another API process has accepted."""
    undelivered_sweep_seconds: Annotated[float, Field(gt=0)] = 30
    """Between two looks for tasks that SNS could not deliver."""
    undelivered_tries: Annotated[int, Field(ge=1)] = 30
    """How often such a task is sent to its queue before it fails; with their delays, for more than six hours."""

    @field_validator("api_keys", "api_admin_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object, info: ValidationInfo) -> object:
        return parse_keys(value, admin=info.field_name == "api_admin_keys") if isinstance(value, str) else value

    @field_validator("cors_allowed_origins", mode="before")
    @classmethod
    def _origins(cls, value: object) -> object:
        return parse_origins(tuple(value.split(","))) if isinstance(value, str) else value

    @field_validator("webhook_allowed_origins", mode="before")
    @classmethod
    def _receivers(cls, value: object) -> object:
        return parse_receivers(value) if isinstance(value, str) else value

    @field_validator("webhook_secrets")
    @classmethod
    def _webhook_secrets(cls, value: SecretStr) -> SecretStr:
        Secrets.parse(value.get_secret_value())
        return value

    @field_validator("webhook_secrets_arn")
    @classmethod
    def _webhook_secrets_arn(cls, value: str, info: ValidationInfo) -> str:
        given = info.data.get("webhook_secrets")
        if value and given is not None and given.get_secret_value():
            raise ValueError("is there beside WEBHOOK_SECRETS; set one of them")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("cdn_base_url", "public_s3_endpoint_url", "callback_sink_url", "aws_endpoint_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
            raise ValueError("must be an http:// or https:// address")
        return value.rstrip("/")

    @field_validator("root_path")
    @classmethod
    def _root(cls, value: str) -> str:
        value = value.rstrip("/")
        if value and not value.startswith("/"):
            raise ValueError("must start with a slash, such as /prod")
        return value

    @field_validator("task_topic_arn", "callback_topic_arn")
    @classmethod
    def _topic_arn(cls, value: str) -> str:
        parts = value.split(":")
        if len(parts) != 6 or parts[0] != "arn" or parts[2] != "sns" or not parts[5]:
            raise ValueError("must be an SNS topic's ARN, such as arn:aws:sns:us-east-1:000000000000:darkroom-tasks")
        return value

    @field_validator("gateway_secrets", mode="before")
    @classmethod
    def _split_secrets(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        secrets = [part.strip() for part in value.split(",") if part.strip()]
        if any(len(secret) < _SHORTEST_SECRET or not secret.isascii() for secret in secrets):
            raise ValueError(f"must be at least {_SHORTEST_SECRET} ASCII characters that nobody can guess")
        return tuple(SecretStr(secret) for secret in secrets)

    @field_validator("gateway_secret_arn")
    @classmethod
    def _secret_arn(cls, value: str, info: ValidationInfo) -> str:
        if value and not (value.startswith("arn:") and ":secretsmanager:" in value):
            raise ValueError("must be the ARN of an AWS Secrets Manager entry")
        if value and info.data.get("gateway_secrets"):
            raise ValueError("is there beside GATEWAY_SECRET; set one of them")
        return value

    @property
    def most_upload_bytes(self) -> int:
        """Bytes of the largest file that may come in parts: by default as many as agents fetch by default."""
        return self.upload_max_bytes or max(self.input_max_bytes, 32 * MIB)

    @property
    def behind_gateway(self) -> bool:
        """Whether a gateway in front tells who calls."""
        return bool(self.gateway_secrets or self.gateway_secret_arn)

    @property
    def keys(self) -> tuple[NamedKey, ...]:
        """All API keys."""
        return self.api_keys + self.api_admin_keys

    @model_validator(mode="after")
    def _usable_keys(self) -> Self:
        check_keys(self.keys, shared=self.api_keys_shared)
        return self

    @model_validator(mode="after")
    def _host_names(self) -> Self:
        try:
            self.hosts()
        except ValueError as error:
            raise ValueError(f"ALLOWED_HOSTS: {error}") from error
        return self

    def hosts(self) -> AllowedHosts:
        """Returns the host names that the API answers to."""
        return AllowedHosts.of(self.allowed_hosts, listening_on=self.host)

    @model_validator(mode="after")
    def _expires_in_time(self) -> Self:
        if self.expiry_seconds + self.expiry_sweep_seconds > RETENTION:
            raise ValueError(
                f"EXPIRY_SECONDS and EXPIRY_SWEEP_SECONDS together must be at most {RETENTION}, or SQS forgets a task "
                "before anybody looks"
            )
        return self

    @model_validator(mode="after")
    def _different_topics(self) -> Self:
        if self.task_topic_arn == self.callback_topic_arn:
            raise ValueError("TASK_TOPIC_ARN and CALLBACK_TOPIC_ARN must not be the same topic")
        return self


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        SettingsError: one line for each variable that is missing or wrong; no value of a secret is in it.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(fault_lines(error))) from error


def fault_lines(error: ValidationError) -> list[str]:
    """Returns one line for each variable that is missing or wrong, with no value in it."""
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        name = str(item["loc"][0]).upper() if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            message = "is required and missing"
        if item["type"] == "bool_parsing":
            message = "must be true or false"
        lines.append(f"{name}: {message}" if name else message)
    return lines

"""The deliverer's settings: one typed object, read from the environment."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from contract.outbound import parse_receivers
from contract.topology import WEBHOOKS_VISIBILITY
from contract.webhook_secrets import Secrets


class SettingsError(Exception):
    """Settings that cannot be used; one line for each faulty variable."""


class Settings(BaseSettings):
    """Everything that may be set. Each field is the environment variable of the same name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    webhook_queue_url: Annotated[str, Field(description="URL of the queue of webhooks", pattern=r"^https?://\S+$")]
    webhook_dlq_url: Annotated[
        str, Field(description="URL of its dead-letter queue; the queue's with `-dlq` after it when empty")
    ] = ""
    s3_bucket: Annotated[str, Field(description="bucket of task records and ledgers", min_length=3)]
    webhook_secrets: Annotated[
        SecretStr,
        Field(description="what signs: a root of all tenants' secrets, tenant=whsec_…, with commas between them"),
    ] = SecretStr("")
    webhook_secrets_arn: Annotated[
        str, Field(description="the same, where AWS Secrets Manager has it: its current value and its previous one")
    ] = ""
    webhook_allowed_origins: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="receivers that need be neither https nor public; `loopback`: all of this machine"),
    ] = ()
    webhook_timeout_seconds: Annotated[float, Field(description="seconds that an attempt may take", gt=0, le=30)] = 15.0
    webhook_retry_seconds: Annotated[
        float, Field(description="seconds until the second attempt; each further wait is three times as long", gt=0)
    ] = 5.0
    webhook_give_up_seconds: Annotated[
        float, Field(description="seconds after which a delivery is given up", gt=0, le=7 * 24 * 3600)
    ] = 24 * 3600.0
    webhook_look_seconds: Annotated[
        float, Field(description="seconds between two looks at a task that has not ended; the API's too", gt=0, le=900)
    ] = 900.0
    webhook_visibility_seconds: Annotated[
        int, Field(description="seconds after which the work of a deliverer that died is another's", gt=0, le=3600)
    ] = WEBHOOKS_VISIBILITY
    webhook_parallel: Annotated[int, Field(description="attempts at once", gt=0, le=1000)] = 100
    webhook_parallel_per_receiver: Annotated[int, Field(description="the same to one receiver", gt=0, le=1000)] = 8
    cdn_base_url: Annotated[str, Field(description="links to results go there instead of to S3; as the API's")] = ""
    public_s3_endpoint_url: Annotated[str, Field(description="the S3 endpoint as receivers reach it")] = ""
    presigned_seconds: Annotated[int, Field(description="how long links to results work", ge=1, le=7 * 24 * 3600)] = (
        3600
    )
    health_host: Annotated[str, Field(description="address of the probes")] = "0.0.0.0"  # noqa: S104 - pods are probed
    health_port: Annotated[int, Field(description="port of the probes; 0: a free one", ge=0, le=65535)] = 8081
    grace_period_seconds: Annotated[
        float, Field(description="seconds that attempts may take to end after SIGTERM", ge=0, le=300)
    ] = 20.0
    aws_endpoint_url: Annotated[str, Field(description="an emulator's address")] = ""
    aws_region: Annotated[
        str,
        Field(
            description="AWS region (or AWS_DEFAULT_REGION)",
            validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        ),
    ] = "us-east-1"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least level of log lines")
    ] = "info"
    log_format: Annotated[Literal["json", "console"], Field(description="format of log lines")] = "json"

    @field_validator("webhook_allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return parse_receivers(value) if isinstance(value, str) else value

    @field_validator("webhook_secrets")
    @classmethod
    def _secrets(cls, value: SecretStr) -> SecretStr:
        Secrets.parse(value.get_secret_value())
        return value

    @field_validator("cdn_base_url", "public_s3_endpoint_url", "aws_endpoint_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if value and (urlsplit(value).scheme not in {"http", "https"} or not urlsplit(value).hostname):
            raise ValueError("must be an http:// or https:// address")
        return value.rstrip("/")

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_place_of_secrets(self) -> Self:
        if bool(self.webhook_secrets.get_secret_value()) == bool(self.webhook_secrets_arn):
            raise ValueError("WEBHOOK_SECRETS or WEBHOOK_SECRETS_ARN must be set, and not both: deliveries are signed")
        return self

    @property
    def dead_letter_url(self) -> str:
        """The URL of the dead-letter queue."""
        return self.webhook_dlq_url or f"{self.webhook_queue_url}-dlq"


def load_settings() -> Settings:
    """Reads the settings from the environment.

    Raises:
        SettingsError: a variable is missing or wrong; no secret is in the text.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_line(item) for item in error.errors(include_url=False, include_input=False))
        ) from error


def describe_settings() -> str:
    """Returns a table of every variable, its default, and what it is for."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if field.is_required():
            shown = "required"
        elif default in {"", (), None} or isinstance(default, SecretStr):
            shown = "default: empty"
        else:
            shown = f"default: {default:g}" if isinstance(default, float) else f"default: {default}"
        lines.append(f"  {name.upper():<30} {field.description} ({shown})")
    return "\n".join(lines)


def _line(item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"]).upper()
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "missing":
        field = Settings.model_fields.get(name.lower())
        return f"{name} is not set" + (f" ({field.description})" if field is not None and field.description else "")
    return f"{name}: {message[:1].lower()}{message[1:]}" if name else message

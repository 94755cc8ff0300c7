"""What becomes of a run's results before they are stored: `modelsRuntime[].outputs` of config.yaml."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from contract.identifiers import check_tenant

_URL: Final = re.compile(r"https?://[^\s/?#@]+(?:/[^\s#]*)?", re.ASCII)
_SECRET_ARN: Final = re.compile(r"arn:(aws|aws-cn|aws-us-gov):secretsmanager:[-a-z0-9]+:[0-9]{12}:secret:\S+", re.ASCII)


def _check_url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError(
            "must be a URL of http:// or https:// without a user or a password, such as http://check:8080/"
        )
    return value


def _check_secret(value: str) -> str:
    if value and not _SECRET_ARN.fullmatch(value):
        raise ValueError(
            "must be the whole ARN of a secret of AWS Secrets Manager, such as "
            "arn:aws:secretsmanager:us-east-1:123456789012:secret:signer-a1b2c3"
        )
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Told(StrEnum):
    """What a file's content credentials may tell of how it was made."""

    MODEL = "model"
    SEED = "seed"
    WORKFLOW = "workflow"
    """A SHA-256 of the workflow, or of the request where there is none."""
    PROMPT = "prompt"


class Unmarked(StrEnum):
    """What becomes of a task with a file that cannot be marked."""

    FAIL = "fail"
    DELIVER = "deliver"
    """It succeeds, and its record has a warning."""


class WhenUnanswered(StrEnum):
    """What a check that does not answer means."""

    REFUSE = "refuse"
    """The attempt fails (fail closed)."""
    ACCEPT = "accept"
    """The result is stored unseen (fail open), and the record has a warning."""


_Tells = Annotated[tuple[Annotated[Told, Field(strict=False)], ...], Field(strict=False)]


class OutputCheck(_Strict):
    """A server of the operator's own that may refuse a result before it is stored."""

    url: Annotated[str, AfterValidator(_check_url)]
    """It gets a POST for each task. The rules for links of tasks do not hold for it: it may be at any address."""
    when_unanswered: Annotated[WhenUnanswered, Field(alias="whenUnanswered", strict=False)] = WhenUnanswered.REFUSE
    timeout_seconds: Annotated[float, Field(alias="timeoutSeconds", gt=0, le=300)] = 10
    """That one try may take."""
    tries: Annotated[int, Field(ge=1, le=10)] = 3


class OutputRules(_Strict):
    """What becomes of a runtime's results before they are stored."""

    content_credentials: Annotated[bool, Field(alias="contentCredentials")] = False
    """Whether PNG, JPEG, WebP and MP4 get a C2PA manifest."""
    signing_secret_arn: Annotated[str, Field(alias="signingSecretArn"), AfterValidator(_check_secret)] = ""
    """The secret that holds private key and certificates, as PEM; empty: the agent is told by `CREDENTIALS_SIGNER`."""
    tell: _Tells = (Told.MODEL, Told.SEED, Told.WORKFLOW)
    """What manifests tell besides that a model made the file."""
    tell_by_tenant: Annotated[
        dict[Annotated[str, AfterValidator(check_tenant)], _Tells], Field(alias="tellByTenant")
    ] = {}
    """The same for single tenants, by their names."""
    unmarked: Annotated[Unmarked, Field(strict=False)] = Unmarked.FAIL
    check: OutputCheck | None = None

    @model_validator(mode="after")
    def _used(self) -> Self:
        if self.signing_secret_arn and not self.content_credentials:
            raise ValueError("signingSecretArn is set and contentCredentials is not true; set it, or remove the secret")
        return self

    @property
    def on(self) -> bool:
        """Whether results go through anything at all."""
        return self.content_credentials or self.check is not None

    def told(self, tenant: str) -> tuple[Told, ...]:
        """Returns what a tenant's files tell."""
        return self.tell_by_tenant.get(tenant, self.tell)

    def as_json(self) -> str:
        """Returns the JSON that the agent's setting `OUTPUTS` takes: what differs from the defaults."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True)

"""The stack that is put under load, as a client of it needs to know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import boto3
import botocore
from botocore.config import Config as ClientConfig

from contract.config import Config
from loadtest.errors import LoadtestError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient


class TargetError(LoadtestError):
    """A stack that cannot be found or reached; the text says which, and the way out."""


class Kind(StrEnum):
    """Where a stack may run."""

    LOCAL = "local"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    AWS = "aws"


@dataclass(frozen=True)
class Place:
    """The part of a stack that is AWS."""

    endpoint: str
    """Of an emulator; empty: AWS itself."""
    region: str
    callback_topic_arn: str
    bucket: str
    queues: Mapping[str, str]
    """Queue URL by runtime."""


@dataclass(frozen=True)
class Target:
    """Where a stack is to be found."""

    kind: Kind
    api: str
    config: Config
    place: Place | None
    """None: AWS is out of reach, only the API can be used."""
    api_key: str = field(default="", repr=False)
    sample_image: str = ""
    """The address of a picture that the agents may fetch; empty: none is known."""
    state: str = ""
    """The path of the state file of `nox -s up`, for a local stack."""
    context: str = ""
    """Of kubeconfig, for a stack in Kubernetes; empty: the current one."""
    kubeconfig: str = ""
    """The path of it; empty: the user's own."""
    api_keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of several tenants, by names; the first floods, where a scenario has a flood. Empty: there is `api_key` alone."""

    def headers(self, tenant: str = "") -> dict[str, str]:
        """Returns the headers of every request to the API, as one of its tenants."""
        key = self.api_keys.get(tenant) or self.api_key or next(iter(self.api_keys.values()), "")
        return {"x-api-key": key} if key else {}


@dataclass(frozen=True)
class Aws:
    """The AWS clients of a load test; they may be shared by greenlets."""

    s3: S3Client
    sns: SNSClient
    sqs: SQSClient


_CONNECTIONS: Final = 32


def connect(place: Place) -> Aws:
    """Returns clients for a stack's AWS; sends nothing."""
    config = ClientConfig(
        connect_timeout=5,
        read_timeout=30,
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "standard", "total_max_attempts": 3},
        parameter_validation=False,
        # botocore would put its own together anew, twice for each call: a tenth of the generator's processor time.
        user_agent=f"darkroom-loadtest Botocore/{botocore.__version__}",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    if not place.endpoint:
        session = boto3.Session(region_name=place.region)
        return Aws(
            s3=session.client("s3", config=config),
            sns=session.client("sns", config=config),
            sqs=session.client("sqs", config=config),
        )
    # An emulator takes any key; this one stands for LocalStack's account 000000000000. No proxy can reach it.
    session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=place.region)  # noqa: S106
    beside_us = config.merge(ClientConfig(proxies={}, s3={"addressing_style": "path"}))
    return Aws(
        s3=session.client("s3", endpoint_url=place.endpoint, config=beside_us),
        sns=session.client("sns", endpoint_url=place.endpoint, config=beside_us),
        sqs=session.client("sqs", endpoint_url=place.endpoint, config=beside_us),
    )

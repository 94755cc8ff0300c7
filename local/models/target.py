"""Chooses the bucket and makes the client: the local stack's LocalStack unless something else is named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError

from local.clients import REGION, make_clients
from local.harness.state import default_path, read_running
from local.models.bucket import BucketError, ModelBucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COMPOSE_ENDPOINT: Final = "http://127.0.0.1:4566"


@dataclass(frozen=True)
class Target:
    """Where the bucket is."""

    bucket: ModelBucket
    place: str
    """For people: an endpoint, or a profile of AWS."""


def choose(bucket: str, *, endpoint: str | None, profile: str | None, jobs: int) -> Target:
    """Returns the bucket of that name.

    Args:
        bucket: its name.
        endpoint: an emulator, or an endpoint of AWS, which is called with the environment's credentials.
        profile: one of the AWS CLI's; AWS itself unless there is an endpoint too.
        jobs: calls that may be under way at once.

    Raises:
        BucketError: no client can be made of that.
    """
    if endpoint is None and profile is None:
        endpoint = _running_localstack() or COMPOSE_ENDPOINT
    try:
        if profile is None and endpoint is not None and not _is_aws(endpoint):
            region = os.environ.get("AWS_REGION") or REGION
            client = make_clients(endpoint, region=region, connections=2 * jobs).s3
        else:
            client = _aws(endpoint, profile, jobs)
    except (BotoCoreError, ValueError) as error:
        raise BucketError(f"bucket {bucket}: {error}") from error
    return Target(ModelBucket(client, bucket), endpoint or f"AWS, profile {profile}")


def _running_localstack() -> str | None:
    """Returns the LocalStack of the running `up`, or None."""
    state = read_running(default_path())
    return state.localstack if state is not None else None


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _aws(endpoint: str | None, profile: str | None, jobs: int) -> S3Client:
    config = ClientConfig(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * jobs,
        retries={"mode": "standard", "total_max_attempts": 5},
    )
    return boto3.Session(profile_name=profile).client("s3", endpoint_url=endpoint, config=config)

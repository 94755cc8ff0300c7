"""Chooses the bucket and makes the client: the local stack's LocalStack unless something else is named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from contract.ownership import expect_owner
from contract.topology import topology
from local.clients import REGION, make_clients
from local.harness.state import default_path, read_running
from local.models.bucket import BucketError, ModelBucket

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from contract.config import Config

COMPOSE_ENDPOINT: Final = "http://127.0.0.1:4566"


@dataclass(frozen=True)
class Target:
    """Where the bucket is."""

    bucket: ModelBucket
    place: str
    """For people: an endpoint, or a profile of AWS."""


def choose(bucket: str | Config, *, endpoint: str | None, profile: str | None, jobs: int) -> Target:
    """Returns the bucket of that name, or a deployment's.

    Args:
        bucket: its name, or the deployment whose it is.
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
            name = bucket if isinstance(bucket, str) else topology(bucket).model_bucket
        else:
            name, client = _aws(bucket, endpoint, profile, jobs)
    except (BotoCoreError, ClientError, ValueError) as error:
        raise BucketError(f"{_called(bucket)}: {error}") from error
    return Target(ModelBucket(client, name), endpoint or f"AWS, profile {profile}")


def _running_localstack() -> str | None:
    """Returns the LocalStack of the running `up`, or None."""
    state = read_running(default_path())
    return state.localstack if state is not None else None


def _is_aws(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _called(bucket: str | Config) -> str:
    name = bucket if isinstance(bucket, str) else bucket.model_bucket
    return f"bucket {name}" if name else "the deployment's model bucket"


def _aws(bucket: str | Config, endpoint: str | None, profile: str | None, jobs: int) -> tuple[str, S3Client]:
    """Returns the bucket's name, and a client that takes no bucket of another account than it is to be of."""
    config = ClientConfig(
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=2 * jobs,
        retries={"mode": "standard", "total_max_attempts": 5},
    )
    session = boto3.Session(profile_name=profile)
    client = session.client("s3", endpoint_url=endpoint, config=config)
    if isinstance(bucket, str):
        return bucket, client
    region = session.region_name or client.meta.region_name
    owner = bucket.cloud.model_bucket_owner
    account = owner or session.client("sts", region_name=region).get_caller_identity()["Account"]
    expect_owner(client, lambda _: account)
    return topology(bucket, region=region, account=account).model_bucket, client

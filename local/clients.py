"""Makes the AWS clients of this machine: LocalStack's address, its pretended credentials, short timeouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config as ClientConfig

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

REGION: Final = "us-east-1"
CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
"""LocalStack takes any; the key `test` stands for its account 000000000000."""


@dataclass(frozen=True)
class Clients:
    """The three services that a deployment uses. They may be shared by threads."""

    endpoint: str
    region: str
    s3: S3Client
    sns: SNSClient
    sqs: SQSClient


def make_clients(endpoint: str, *, region: str = REGION, connections: int = 10) -> Clients:
    """Returns clients for the emulator at `endpoint`.

    Args:
        endpoint: such as http://127.0.0.1:4566.
        region: that is asked; LocalStack keeps each region apart.
        connections: the most that each client holds open.
    """
    session = boto3.Session(
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=region,
    )
    config = ClientConfig(
        connect_timeout=3,
        read_timeout=30,
        max_pool_connections=connections,
        retries={"mode": "standard", "total_max_attempts": 3},
        # Not even if the environment names a proxy: the emulator is beside us.
        proxies={},
        # A bucket's name cannot be put before a host such as `localstack` or `127.0.0.1`.
        s3={"addressing_style": "path"},
    )
    return Clients(
        endpoint=endpoint,
        region=region,
        s3=session.client("s3", endpoint_url=endpoint, config=config),
        sns=session.client("sns", endpoint_url=endpoint, config=config),
        sqs=session.client("sqs", endpoint_url=endpoint, config=config),
    )

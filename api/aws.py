"""The AWS clients of the API: opened once, shared by every request, closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import botocore
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from aiohttp import ClientError as HttpClientError
from botocore.exceptions import BotoCoreError, ClientError

from api.settings import Settings
from contract.links import Signer
from contract.publications import SnsClient
from contract.s3 import Listed, open_s3
from contract.store import ContendedRecordError, S3Client

_S3_SECONDS: Final = 10.0
"""For one call to S3, its tries included."""

USER_AGENT: Final = f"darkroom-api Botocore/{botocore.__version__}"

AWS_ERRORS: Final = (BotoCoreError, ClientError, HttpClientError, TimeoutError, OSError)
"""What a call to AWS raises when AWS is out of reach or refuses."""

UNAVAILABLE: Final = (*AWS_ERRORS, ContendedRecordError)
"""What becomes a 503."""


class S3(S3Client, Protocol):
    """The part of `contract.s3.S3` that the API needs."""

    async def head_object(self, *, Bucket: str, Key: str) -> Any:  # noqa: N803 - S3's names
        """Amazon S3 HeadObject."""

    async def head_bucket(self, **arguments: Any) -> Any:
        """Amazon S3 HeadBucket."""

    async def whole(self) -> Any:
        """Returns botocore's client, for calls that are rare."""

    async def delete_object(self, *, Bucket: str, Key: str) -> None:  # noqa: N803 - S3's names
        """Amazon S3 DeleteObject."""

    def list_folder(self, *, Bucket: str, Prefix: str, StartAfter: str = "") -> AsyncIterator[Listed]:  # noqa: N803
        """Amazon S3 ListObjectsV2, page after page."""


class Sns(SnsClient, Protocol):
    """The part of aiobotocore's SNS client that the API needs."""

    async def get_topic_attributes(self, **arguments: Any) -> Any:
        """Amazon SNS GetTopicAttributes."""


class Sqs(Protocol):
    """The part of aiobotocore's SQS client that the API needs."""

    async def get_queue_url(self, **arguments: Any) -> Any:
        """Amazon SQS GetQueueUrl."""

    async def get_queue_attributes(self, **arguments: Any) -> Any:
        """Amazon SQS GetQueueAttributes."""

    async def receive_message(self, **arguments: Any) -> Any:
        """Amazon SQS ReceiveMessage."""

    async def send_message(self, **arguments: Any) -> Any:
        """Amazon SQS SendMessage."""

    async def delete_message(self, **arguments: Any) -> Any:
        """Amazon SQS DeleteMessage."""

    async def change_message_visibility(self, **arguments: Any) -> Any:
        """Amazon SQS ChangeMessageVisibility."""

    async def change_message_visibility_batch(self, **arguments: Any) -> Any:
        """Amazon SQS ChangeMessageVisibilityBatch."""


@dataclass(frozen=True, slots=True)
class Aws:
    """One client for each service; `signer` signs links, for the endpoint that clients reach."""

    s3: S3
    sns: Sns
    sqs: Sqs
    signer: Signer


@asynccontextmanager
async def open_aws(settings: Settings) -> AsyncIterator[Aws]:
    """Opens the clients, and closes them at the end."""
    # Any: the stubs have one overload for each literal service name, and the name is an argument here.
    session: Any = get_session()
    custom = settings.aws_endpoint_url
    public = settings.public_s3_endpoint_url or custom

    def client(service: str, endpoint: str) -> Any:
        return session.create_client(
            service,
            region_name=settings.aws_region,
            endpoint_url=endpoint or None,
            config=_config(service, custom_endpoint=bool(endpoint)),
        )

    def s3_at(endpoint: str) -> Any:
        return open_s3(
            session,
            settings.s3_bucket,
            region=settings.aws_region,
            config=_config("s3", custom_endpoint=bool(endpoint)),
            endpoint=endpoint,
            seconds=_S3_SECONDS,
        )

    async with AsyncExitStack() as stack:
        s3 = await stack.enter_async_context(s3_at(custom))
        yield Aws(
            s3=s3,
            sns=await stack.enter_async_context(client("sns", custom)),
            sqs=await stack.enter_async_context(client("sqs", custom)),
            signer=s3 if public == custom else await stack.enter_async_context(s3_at(public)),
        )


def _config(service: str, *, custom_endpoint: bool) -> AioConfig:
    limits: dict[str, Any] = {
        "connect_timeout": 2,
        "read_timeout": 5,
        "retries": {"mode": "standard", "max_attempts": 3},
        "max_pool_connections": 200,
        "parameter_validation": False,
        # botocore would put its own together anew, twice for each call: a tenth of a call's processor time.
        "user_agent": USER_AGENT,
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
    }
    if service == "s3":
        # Links must be signed with version 4, and an emulator's host name has no name for each bucket.
        limits["signature_version"] = "s3v4"
        limits["s3"] = {"addressing_style": "path" if custom_endpoint else "virtual"}
    return AioConfig(**limits)

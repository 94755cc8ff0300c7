"""Puts the deliverer together from its settings, and runs it until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import botocore
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from contract.identifiers import new_ulid
from contract.links import Links
from contract.s3 import open_s3
from contract.secret_store import read_secrets
from contract.topology import RECEIVE_WAIT
from contract.webhook_secrets import Secrets
from webhooks.consumer import Consumer
from webhooks.deliverer import Deliverer
from webhooks.health import listen
from webhooks.metrics import Metrics
from webhooks.policy import Rules
from webhooks.receivers import Receivers
from webhooks.sender import Sender
from webhooks.settings import Settings

_S3_SECONDS: Final = 10.0
_SECRETS_EVERY: Final = 300.0
"""Seconds: a rotation is noticed within them."""

log = structlog.get_logger()


async def run_deliverer(settings: Settings, stop: asyncio.Event) -> None:
    """Delivers until `stop` is set and what is under way has ended.

    Raises:
        contract.worker_probes.CannotListenError: the port of the probes is in use.
    """
    async with AsyncExitStack() as stack:
        # Any: the session's methods are typed by literal service names of stubs that are not installed.
        session: Any = get_session()
        endpoint = settings.aws_endpoint_url

        def config(read_timeout: float) -> AioConfig:
            return AioConfig(
                connect_timeout=3,
                read_timeout=read_timeout,
                retries={"mode": "standard", "max_attempts": 3},
                max_pool_connections=50,
                parameter_validation=False,
                user_agent=f"darkroom-webhooks Botocore/{botocore.__version__}",
                signature_version="s3v4" if read_timeout == _S3_SECONDS else None,
                s3={"addressing_style": "path"} if endpoint else {},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            )

        def s3_at(address: str) -> Any:
            return open_s3(
                session,
                settings.s3_bucket,
                region=settings.aws_region,
                config=config(_S3_SECONDS),
                endpoint=address,
                seconds=_S3_SECONDS,
            )

        s3 = await stack.enter_async_context(s3_at(endpoint))
        public = settings.public_s3_endpoint_url or endpoint
        signer = s3 if public == endpoint else await stack.enter_async_context(s3_at(public))
        sqs = await stack.enter_async_context(
            session.create_client(
                "sqs",
                region_name=settings.aws_region,
                endpoint_url=endpoint or None,
                config=config(RECEIVE_WAIT + 10.0),
            )
        )
        metrics = Metrics()
        receivers = Receivers(
            most=settings.webhook_parallel,
            most_each=settings.webhook_parallel_per_receiver,
            first_pause=2 * settings.webhook_retry_seconds,
        )
        deliverer = Deliverer(
            s3=s3,
            bucket=settings.s3_bucket,
            links=Links(signer, cdn_base_url=settings.cdn_base_url, seconds=settings.presigned_seconds),
            secrets=await _secrets(settings, stack),
            sender=Sender(settings.webhook_timeout_seconds, frozenset(settings.webhook_allowed_origins)),
            receivers=receivers,
            rules=Rules(
                first_wait=timedelta(seconds=settings.webhook_retry_seconds),
                give_up_after=timedelta(seconds=settings.webhook_give_up_seconds),
            ),
            metrics=metrics,
            anchor_seconds=settings.webhook_look_seconds,
            holder=f"{socket.gethostname()}-{new_ulid()}",
        )
        consumer = Consumer(
            sqs,
            settings.webhook_queue_url,
            dead_letter_url=settings.dead_letter_url,
            deliverer=deliverer,
            # What only looks, and is put off, takes no attempt's place.
            parallel=2 * settings.webhook_parallel,
            visibility=settings.webhook_visibility_seconds,
        )
        await stack.enter_async_context(
            listen(settings.health_host, settings.health_port, consumer=consumer, metrics=metrics, receivers=receivers)
        )
        await consumer.run(stop, grace=settings.grace_period_seconds)


async def _secrets(settings: Settings, stack: AsyncExitStack) -> Callable[[], Secrets]:
    """Returns what tells the secrets as they are now."""
    if not settings.webhook_secrets_arn:
        fixed = Secrets.parse(settings.webhook_secrets.get_secret_value())
        return lambda: fixed
    newest = [await _read(settings)]

    async def follow() -> None:
        while True:
            await asyncio.sleep(_SECRETS_EVERY)
            try:
                newest[0] = await _read(settings)
            except ValueError as error:
                log.error("secrets unreadable, the ones before are kept", error=str(error))  # noqa: TRY400 - no secret

    following = asyncio.create_task(follow())
    stack.callback(following.cancel)
    return lambda: newest[0]


async def _read(settings: Settings) -> Secrets:
    values = await read_secrets(
        settings.webhook_secrets_arn, region=settings.aws_region, endpoint=settings.aws_endpoint_url
    )
    return Secrets.parse(",".join(value.get_secret_value() for value in values))

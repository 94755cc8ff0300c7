"""Makes the AWS clients, and waits outages out."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import botocore
import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from botocore.loaders import JSONFileLoader, Loader

from contract.outages import OUTAGES, is_denied, is_outage
from contract.s3 import S3, open_s3
from contract.store import error_code
from contract.topology import RECEIVE_WAIT

if TYPE_CHECKING:
    from types_aiobotocore_sns.client import SNSClient
    from types_aiobotocore_sqs.client import SQSClient

log = structlog.get_logger()

USER_AGENT: Final = f"darkroom-agent Botocore/{botocore.__version__}"

CALL_TIMEOUT: Final = 20.0
"""Seconds for one call, botocore's own retries included."""

CONNECT_TIMEOUT: Final = 3.0
READ_TIMEOUT: Final = 15.0
LONG_POLL_READ_TIMEOUT: Final = RECEIVE_WAIT + 10.0

_BACKOFF_BASE: Final = 0.2
_BACKOFF_CAP: Final = 10.0


@dataclass(frozen=True)
class Clients:
    """One client for each service."""

    s3: S3
    sqs: SQSClient
    sns: SNSClient


class Descriptions(JSONFileLoader):
    """Reads botocore's descriptions, in less memory: plain dicts, without the names of all hosts of all services.

    `endpoints.json` takes 8 MB, and only tells what `partitions.json` and each service's own rules tell as well.
    """

    def load_file(self, file_path: str) -> Any:
        """Returns the document of `file_path` with `.json` or `.json.gz` after it; None when there is no such file."""
        if Path(file_path).name == "endpoints":
            partitions = self.load_file(str(Path(file_path).with_name("partitions")))
            return partitions and _endpoints(partitions)
        for path, opened in ((f"{file_path}.json", open), (f"{file_path}.json.gz", gzip.open)):
            with suppress(FileNotFoundError), opened(path, "rb") as file:
                return json.load(file)
        return None


def _endpoints(partitions: dict[str, Any]) -> dict[str, Any]:
    """Returns as much of `endpoints.json` as botocore looks up to make a client: whose a region is, and defaults."""
    return {
        "version": 3,
        "partitions": [
            {
                "partition": item["id"],
                "dnsSuffix": item["outputs"]["dnsSuffix"],
                "regionRegex": item["regionRegex"],
                "regions": item["regions"],
                "defaults": {
                    "hostname": "{service}.{region}.{dnsSuffix}",
                    "protocols": ["https"],
                    "signatureVersions": ["v4"],
                },
                "services": {
                    "s3": {
                        "defaults": {"signatureVersions": ["s3v4"]},
                        "partitionEndpoint": f"{item['id']}-global",
                        "endpoints": {
                            f"{item['id']}-global": {
                                "credentialScope": {"region": item["outputs"]["implicitGlobalRegion"]},
                                "hostname": f"s3.{item['outputs']['dnsSuffix']}",
                            }
                        },
                    }
                },
            }
            for item in partitions["partitions"]
        ],
    }


async def open_clients(stack: AsyncExitStack, *, region: str, bucket: str, emulated: bool) -> Clients:
    """Returns clients that close with the stack. They find credentials and `AWS_ENDPOINT_URL` as botocore does."""
    session = get_session()
    session.register_component("data_loader", Loader(file_loader=Descriptions()))

    def config(read_timeout: float) -> AioConfig:
        return AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=read_timeout,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=32,
            tcp_keepalive=True,
            parameter_validation=False,
            connector_args={"keepalive_timeout": 60},
            # botocore would put its own together anew, twice for each call: a tenth of a call's processor time.
            user_agent=USER_AGENT,
            # An emulator's host name has no subdomain for each bucket.
            s3={"addressing_style": "path"} if emulated else {},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )

    s3 = await stack.enter_async_context(
        open_s3(session, bucket, region=region, config=config(READ_TIMEOUT), seconds=CALL_TIMEOUT)
    )
    sqs = await stack.enter_async_context(
        session.create_client("sqs", region_name=region, config=config(LONG_POLL_READ_TIMEOUT))
    )
    sns = await stack.enter_async_context(
        session.create_client("sns", region_name=region, config=config(READ_TIMEOUT)),
    )
    return Clients(s3, sqs, sns)


def backoff(attempt: int) -> float:
    """Returns seconds to wait after the `attempt`-th failure (from 1): doubled each time, capped, with jitter."""
    delay = min(_BACKOFF_CAP, _BACKOFF_BASE * 2.0 ** min(attempt - 1, 16))
    return delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


async def persist[T](
    call: Callable[[], Awaitable[T]], what: str, *, seconds: float | None = CALL_TIMEOUT, essential: bool = True
) -> T:
    """Calls until AWS answers, however long it is out of reach.

    Args:
        call: the call; it must be safe to repeat.
        what: names the call in the log.
        seconds: that one try may take; None: it is bounded itself, as an entry of `contract.batches` is, which may have
            to wait for calls before its own: given up then, it would be sent all the same, and once more.
        essential: whether nothing can go on without it, so that a permission that is missing is waited for, too.

    Raises:
        botocore.exceptions.ClientError: AWS refuses this call, and would again.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            async with asyncio.timeout(seconds):
                answer = await call()
        except OUTAGES as error:
            if not is_outage(error) or (not essential and is_denied(error)):
                raise
            log.warning("aws_out_of_reach", call=what, tries=attempt, error=describe(error))
        else:
            if attempt > 1:
                log.info("aws_back", call=what, tries=attempt)
            return answer
        await asyncio.sleep(backoff(attempt))


def describe(error: BaseException) -> str:
    """Returns one line about an error, without anything that was sent."""
    if isinstance(error, ClientError):
        return f"{error.operation_name}: {error_code(error)}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__

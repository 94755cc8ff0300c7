"""Reads a secret where AWS keeps it, so that it is in no template, image or environment."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from pydantic import SecretStr

from contract.outages import OUTAGES
from contract.store import error_code

_SECONDS: Final = 20.0
_RETRY_SECONDS: Final = 2.0
_STAGES: Final = ("AWSCURRENT", "AWSPREVIOUS")
"""Both count, the newer first: who has only heard of the older one still uses it (AWS Secrets Manager, "Secret
versions")."""

_log = structlog.get_logger(__name__)


async def read_secrets(arn: str, *, region: str, endpoint: str = "") -> list[SecretStr]:
    """Returns the current and, if there is one, the previous value of a secret of AWS Secrets Manager.

    Without them nothing could be done, so it is asked again until it answers.
    """
    while True:
        try:
            return await _read(arn, region, endpoint)
        except OUTAGES as error:
            _log.error("cannot read a secret", arn=arn, error=repr(error))
        await asyncio.sleep(_RETRY_SECONDS)


async def _read(arn: str, region: str, endpoint: str) -> list[SecretStr]:
    # Any: the session's methods are typed by literal service names of stubs that are not installed.
    session: Any = get_session()
    config = AioConfig(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "max_attempts": 3})
    async with (
        asyncio.timeout(_SECONDS),
        session.create_client(
            "secretsmanager", region_name=region, endpoint_url=endpoint or None, config=config
        ) as client,
    ):
        found = []
        for stage in _STAGES:
            try:
                answer = await client.get_secret_value(SecretId=arn, VersionStage=stage)
            except ClientError as error:
                if stage == _STAGES[0] or error_code(error) != "ResourceNotFoundException":
                    raise
            else:
                found.append(SecretStr(answer["SecretString"]))
        return found

"""Tells whether the API can do its work: whether the topics and the bucket can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from botocore.exceptions import ClientError

from api.aws import AWS_ERRORS, Aws
from api.recent import Recent
from contract.store import error_code

CACHE_SECONDS: Final = 2.0
"""Probes come from each node and load balancer; AWS is asked once for all of them."""

_CALL_SECONDS: Final = 4


class Readiness:
    """Asks AWS, at most once in two seconds."""

    def __init__(
        self, *, aws: Aws, bucket: str, topics: dict[str, str], stopping: asyncio.Event, clock: Callable[[], float]
    ) -> None:
        self._aws = aws
        self._bucket = bucket
        self._topics = topics
        self._stopping = stopping
        self._recent = Recent(self._ask, seconds=CACHE_SECONDS, clock=clock)

    async def check(self) -> dict[str, str]:
        """Returns each check with `ok` or what is wrong."""
        if self._stopping.is_set():
            return {"server": "is stopping"}
        return await self._recent.get()

    async def _ask(self) -> dict[str, str]:
        async with asyncio.TaskGroup() as group:
            checks = {"output_bucket": group.create_task(_outcome(self._aws.s3.head_bucket(Bucket=self._bucket)))}
            for name, arn in self._topics.items():
                checks[name] = group.create_task(_outcome(self._aws.sns.get_topic_attributes(TopicArn=arn)))
        return {name: task.result() for name, task in checks.items()}


async def _outcome(call: Awaitable[object]) -> str:
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            await call
    except ClientError as error:
        return f"AWS answered {error_code(error)}"
    except TimeoutError:
        return f"no answer within {_CALL_SECONDS} s"
    except AWS_ERRORS as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "ok"

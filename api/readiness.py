"""Tells whether the API can do its work: whether the topics and the bucket can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from botocore.exceptions import ClientError

from api.aws import AWS_ERRORS, Aws
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
        self._clock = clock
        self._lock = asyncio.Lock()
        self._cached: dict[str, str] = {}
        self._cached_at = float("-inf")

    async def check(self) -> dict[str, str]:
        """Returns each check with `ok` or what is wrong."""
        if self._stopping.is_set():
            return {"server": "is stopping"}
        async with self._lock:
            if self._clock() - self._cached_at >= CACHE_SECONDS:
                async with asyncio.TaskGroup() as group:
                    checks = {
                        "output_bucket": group.create_task(_outcome(self._aws.s3.head_bucket(Bucket=self._bucket)))
                    }
                    for name, arn in self._topics.items():
                        checks[name] = group.create_task(_outcome(self._aws.sns.get_topic_attributes(TopicArn=arn)))
                self._cached = {name: task.result() for name, task in checks.items()}
                self._cached_at = self._clock()
            return self._cached


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

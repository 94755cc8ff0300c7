"""What `GET /v1/runtimes` answers: the runtimes of config.yaml with the depth of their queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from api.aws import AWS_ERRORS, Sqs
from api.recent import Recent
from contract.config import Config, RuntimeConfig
from contract.runtimes import KINDS
from contract.topology import Topology

CACHE_SECONDS: Final = 1.0
"""Depths are approximate anyway (Amazon SQS, GetQueueAttributes), and many dashboards may ask at once."""

_CALL_SECONDS: Final = 5

_ATTRIBUTES: Final = {
    "ApproximateNumberOfMessages": "waiting",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}

_log = structlog.get_logger(__name__)


class Runtimes:
    """Describes the runtimes; asks SQS at most once a second."""

    def __init__(self, *, sqs: Sqs, config: Config, place: Topology, clock: Callable[[], float]) -> None:
        self._sqs = sqs
        self._config = config
        self._place = place
        self._urls: dict[str, str] = {}
        self._recent = Recent(self._ask, seconds=CACHE_SECONDS, clock=clock)

    async def describe(self) -> list[dict[str, Any]]:
        """Returns each runtime; `queue` is None where SQS does not answer."""
        return await self._recent.get()

    async def _ask(self) -> list[dict[str, Any]]:
        async with asyncio.TaskGroup() as group:
            depths = [group.create_task(self._depth(runtime.name)) for runtime in self._config.runtimes]
        return [
            describe_runtime(runtime, depth.result())
            for runtime, depth in zip(self._config.runtimes, depths, strict=True)
        ]

    async def _depth(self, runtime: str) -> dict[str, int] | None:
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                url = self._urls.get(runtime)
                if url is None:
                    name = self._place.queue(runtime).name
                    url = self._urls[runtime] = (await self._sqs.get_queue_url(QueueName=name))["QueueUrl"]
                answer = await self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_ATTRIBUTES))
        except AWS_ERRORS as error:
            _log.warning("cannot read the queue's depth", runtime=runtime, error=repr(error))
            self._urls.pop(runtime, None)
            return None
        return {word: int(answer["Attributes"].get(name, 0)) for name, word in _ATTRIBUTES.items()}


def describe_runtime(runtime: RuntimeConfig, queue: dict[str, int] | None) -> dict[str, Any]:
    """Returns one runtime as the API shows it."""
    return {
        "name": runtime.name,
        "type": runtime.type,
        "tasktypes": sorted(KINDS[runtime.type].task_types),
        "model": runtime.static_checkpoint,
        "dynamic_model": runtime.dynamic_model,
        "queue": queue,
    }

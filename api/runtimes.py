"""What `GET /v1/runtimes` answers: the runtimes of config.yaml, their queues, and the replicas wanted for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from api.aws import AWS_ERRORS, Sqs
from api.recent import Recent
from contract.config import Config, RuntimeConfig
from contract.runtimes import KINDS
from contract.scaling.autoscaler import resting_at
from contract.scaling.keda import Backlog
from contract.scaling.settings import Scaling, ScalingError, scaling_by_runtime
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
        self._scaling = _scaling(config)
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
            describe_runtime(runtime, depth.result(), self._scaling.get(runtime.name))
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


def _scaling(config: Config) -> dict[str, Scaling]:
    try:
        return scaling_by_runtime(config)
    except ScalingError as error:
        _log.warning("the scaling settings cannot be read; nothing is told of wanted replicas", error=str(error))
        return {}


def describe_runtime(
    runtime: RuntimeConfig, queue: dict[str, int] | None, scaling: Scaling | None = None
) -> dict[str, Any]:
    """Returns one runtime as the API shows it."""
    return {
        "name": runtime.name,
        "type": runtime.type,
        "tasktypes": sorted(KINDS[runtime.type].task_types),
        "model": runtime.static_checkpoint,
        "dynamic_model": runtime.dynamic_model,
        "queue": queue,
        "replicas": None if queue is None or scaling is None else _replicas(scaling, queue),
    }


def _replicas(scaling: Scaling, queue: dict[str, int]) -> dict[str, int]:
    """Returns how many replicas the scaling rules want for a queue, and within which bounds."""
    backlog = Backlog(queue["waiting"], queue["in_flight"], queue["delayed"])
    wanted = resting_at(scaling, backlog)
    most = scaling.max_replica_count if scaling.enabled else wanted
    return {"wanted": wanted, "min": min(scaling.min_replica_count, most), "max": most}

"""The environments that the agents of each runtime have told of: read from the output bucket, where they leave them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError

from api.aws import AWS_ERRORS
from api.errors import ApiError, InvalidRequestError, UnavailableError
from contract.environment import Index, Lock, describe_lock, differences, read_index
from contract.objects import environment_key
from contract.store import S3Client, read_document

_SECONDS: Final = 10

_REMEMBERED: Final = 200
"""Environments that are kept, each for good: what a hash means does not change."""

_ABSENT_SECONDS: Final = 5.0
"""For so long S3 is not asked again for one that is not there."""

_DIGITS: Final = 64

_log = structlog.get_logger(__name__)


class Environments:
    """The environments of the runtimes of config.yaml.

    Args:
        s3: where they lie.
        bucket: the output bucket.
        clock: seconds, monotonic.
    """

    def __init__(self, *, s3: S3Client, bucket: str, clock: Callable[[], float]) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._locks: OrderedDict[tuple[str, str], Lock] = OrderedDict()
        self._absent: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def check(self, runtime: str, environment: str) -> None:
        """Refuses a task that demands an environment of which no agent of its runtime has ever told.

        What S3 cannot say now, the agents decide.

        Raises:
            ApiError: 409.
        """
        try:
            found = await self._find(runtime, environment)
        except UnavailableError:
            return
        if found is None:
            raise ApiError(
                409,
                "unknown_environment",
                f"task.metadata.environment: no agent of {runtime} has told of the environment {environment}; "
                f"GET /v1/runtimes/{runtime}/environment lists those that are known",
                details={"runtime": runtime, "environment": environment},
            )

    async def show(self, runtime: str, environment: str | None, against: str | None) -> dict[str, Any]:
        """Returns what the API answers about an environment of a runtime.

        Args:
            runtime: one of config.yaml.
            environment: its hash; None: the one that an agent has told of last.
            against: the hash of another one, to which it is compared.

        Raises:
            ApiError: 400, no hash; 404, nobody has told of it.
            UnavailableError: S3 is out of reach.
        """
        index = await self._index(runtime)
        newest = index.newest_first()
        if environment is None:
            if not newest:
                raise ApiError(
                    404,
                    "environment_not_known",
                    f"no agent of {runtime} has told of its environment yet; they do soon after their server is up",
                    details={"runtime": runtime},
                )
            environment = newest[0][0]
        lock = await self._get(runtime, environment, "environment")
        now = datetime.now(UTC)
        answer: dict[str, Any] = {
            "runtime": runtime,
            "hash": environment,
            "seen_at": index.seen.get(environment),
            "environment": describe_lock(lock),
            "known": [{"hash": name, "seen_at": at, "lately": index.lately(name, now)} for name, at in newest],
            "difference": None,
        }
        if against is not None:
            other = await self._get(runtime, against, "against")
            answer["difference"] = {
                "against": against,
                "changes": [
                    {
                        "what": item.what,
                        "name": item.name,
                        "before": item.before,
                        "after": item.after,
                        "sentence": item.sentence,
                    }
                    for item in differences(other, lock)
                ],
            }
        return answer

    async def _get(self, runtime: str, environment: str, parameter: str) -> Lock:
        if len(environment) != _DIGITS or not set(environment) <= set("0123456789abcdef"):
            raise InvalidRequestError(parameter, f"must be a hash of {_DIGITS} hexadecimal digits in lower case")
        lock = await self._find(runtime, environment)
        if lock is None:
            raise ApiError(
                404,
                "unknown_environment",
                f"no agent of {runtime} has told of the environment {environment}; "
                f"GET /v1/runtimes/{runtime}/environment lists those that are known",
                details={"runtime": runtime, "environment": environment},
            )
        return lock

    async def _find(self, runtime: str, environment: str) -> Lock | None:
        key = runtime, environment
        if (known := self._locks.get(key)) is not None:
            self._locks.move_to_end(key)
            return known
        if self._clock() - self._absent.get(key, -_ABSENT_SECONDS) < _ABSENT_SECONDS:
            return None
        try:
            async with asyncio.timeout(_SECONDS):
                found = await read_document(self._s3, self._bucket, environment_key(runtime, environment))
            lock = None if found is None else Lock.model_validate_json(found[0])
        except AWS_ERRORS as error:
            _log.warning("cannot read an environment", runtime=runtime, error=repr(error))
            raise UnavailableError("the runtime's environment cannot be read now") from error
        except ValidationError:
            _log.exception("environment unreadable", runtime=runtime, environment=environment)
            lock = None
        if lock is None:
            self._absent[key] = self._clock()
            _forget_oldest(self._absent)
        else:
            self._locks[key] = lock
            _forget_oldest(self._locks)
        return lock

    async def _index(self, runtime: str) -> Index:
        try:
            async with asyncio.timeout(_SECONDS):
                return await read_index(self._s3, self._bucket, runtime)
        except AWS_ERRORS as error:
            _log.warning("cannot read the environments", runtime=runtime, error=repr(error))
            raise UnavailableError("the runtime's environments cannot be read now") from error
        except ValidationError:
            _log.exception("index of environments unreadable", runtime=runtime)
            return Index()


def _forget_oldest(kept: OrderedDict[tuple[str, str], Any]) -> None:
    while len(kept) > _REMEMBERED:
        kept.popitem(last=False)

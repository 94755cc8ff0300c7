"""What the runtimes tell of their nodes: read from the output bucket, where their agents leave it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog
from botocore.exceptions import ClientError

from api.aws import AWS_ERRORS, S3
from api.errors import UnavailableError
from contract.catalogue import MOST_PACKED, Catalogue, CatalogueError, unpack
from contract.objects import catalogue_key
from contract.store import is_absent, is_unchanged

FRESH_SECONDS: Final = 5.0
"""For so long S3 is not asked whether there is a newer one."""

_SECONDS: Final = 10

_log = structlog.get_logger(__name__)


@dataclass
class _Known:
    catalogue: Catalogue | None
    etag: str | None
    asked_at: float


class Catalogues:
    """The catalogues of the runtimes of config.yaml, each kept until there is a newer one.

    Args:
        s3: where they lie.
        bucket: the output bucket.
        clock: seconds, monotonic.
    """

    def __init__(self, *, s3: S3, bucket: str, clock: Callable[[], float]) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._lock = asyncio.Lock()

    async def get(self, runtime: str) -> Catalogue | None:
        """Returns a runtime's catalogue; None when it has none yet.

        Args:
            runtime: one of config.yaml.

        Raises:
            UnavailableError: S3 is out of reach, and none is known.
        """
        async with self._lock:
            known = self._known.get(runtime)
            if known is not None and self._clock() - known.asked_at < FRESH_SECONDS:
                return known.catalogue
            try:
                async with asyncio.timeout(_SECONDS):
                    catalogue, etag = await self._read(runtime, known)
            except AWS_ERRORS as error:
                _log.warning("cannot read what a runtime tells of its nodes", runtime=runtime, error=repr(error))
                if known is None or known.catalogue is None:
                    raise UnavailableError("what the runtime tells of its nodes cannot be read now") from error
                return known.catalogue
            except CatalogueError as error:
                _log.warning("what a runtime tells of its nodes makes no sense", runtime=runtime, error=str(error))
                catalogue, etag = None, None
            self._known[runtime] = _Known(catalogue, etag, self._clock())
            return catalogue

    async def _read(self, runtime: str, known: _Known | None) -> tuple[Catalogue | None, str | None]:
        etag = known.etag if known is not None else None
        condition = {} if etag is None else {"IfNoneMatch": etag}
        try:
            answer = await self._s3.get_object(Bucket=self._bucket, Key=catalogue_key(runtime), **condition)
            async with answer["Body"] as body:
                if answer["ContentLength"] > MOST_PACKED:
                    raise CatalogueError(f"it has {answer['ContentLength']} bytes; at most {MOST_PACKED} are read")
                packed = await body.read()
        except ClientError as error:
            if is_absent(error):
                return None, None
            if known is not None and is_unchanged(error):
                return known.catalogue, known.etag
            raise
        return await asyncio.to_thread(unpack, packed), answer["ETag"]

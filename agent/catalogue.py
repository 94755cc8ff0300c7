"""Leaves what the runtime tells of its nodes in the output bucket, where the API finds it.

The API converts workflows by it, and reaches no runtime itself. It is written when the server is met, and again when
it tells something else. Nothing waits for it, and a task needs none of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Final, Protocol, runtime_checkable

import structlog
from botocore.exceptions import ClientError

from agent.aws import describe
from agent.errors import TaskError
from contract.catalogue import CatalogueError, pack
from contract.objects import catalogue_key
from contract.outages import OUTAGES
from contract.s3 import S3
from contract.store import is_absent

DELAY: Final = 1.0
"""Seconds after the server was met: its first task comes first."""

INTERVAL: Final = 900.0
"""Seconds after which a server is asked again: models come and go while it runs. It takes one with many nodes a second
of its processor's time to tell of them."""

DIGEST: Final = "digest"
"""Key of the object's metadata: SHA-256 of its bytes."""

log = structlog.get_logger()


@runtime_checkable
class TellsNodes(Protocol):
    """A runtime whose server tells of its nodes."""

    @property
    def met(self) -> asyncio.Event:
        """Set when the server is met, for the first time or anew."""

    async def tell_nodes(self) -> dict[str, Any]:
        """Returns what the server tells of its nodes, by class.

        Raises:
            TaskError: it does not tell.
        """


class CatalogueKeeper:
    """Keeps the runtime's catalogue in the output bucket up to date.

    Args:
        runtime: who tells.
        s3: where to.
        bucket: the output bucket.
        name: the runtime's, of config.yaml.
    """

    def __init__(self, runtime: TellsNodes, s3: S3, bucket: str, name: str) -> None:
        self._runtime = runtime
        self._s3 = s3
        self._bucket = bucket
        self._key = catalogue_key(name)

    async def run(self) -> None:
        """Looks each time that the server is met, and now and then in between."""
        await self._runtime.met.wait()
        while True:
            self._runtime.met.clear()
            await asyncio.sleep(DELAY)
            await self.look()
            try:
                async with asyncio.timeout(INTERVAL):
                    await self._runtime.met.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Asks the server, and writes what it tells if that is news. What fails is logged: the next look comes."""
        try:
            told = await self._runtime.tell_nodes()
            data = await asyncio.to_thread(pack, told)
            await self._write(data)
        except (TaskError, CatalogueError) as error:
            log.warning("the runtime's nodes are not known to the API", error=str(error))
        except OUTAGES as error:
            log.warning("the runtime's nodes cannot be told to the API", error=describe(error))

    async def _write(self, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        if await self._written() == digest:
            return
        await self._s3.put_object(
            Bucket=self._bucket,
            Key=self._key,
            Body=data,
            ContentType="application/gzip",
            Metadata={DIGEST: digest},
        )
        log.info("the runtime's nodes were written for the API", bytes=len(data))

    async def _written(self) -> str | None:
        try:
            return str((await self._s3.head_object(Bucket=self._bucket, Key=self._key))["Metadata"].get(DIGEST))
        except ClientError as error:
            if not is_absent(error):
                raise
            return None

"""Knows the environment of the runtime: asks its server once it is met, and leaves the lock in the output bucket.

Nothing waits for it but a task that demands an environment. A server that was met anew may be another one: until it
has told of itself, its environment is not known.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from datetime import UTC, datetime
from typing import Final, Protocol

import structlog
from pydantic import ValidationError

from agent.aws import describe
from agent.decisions import detour
from agent.errors import PermanentError, TaskError
from agent.model_digests import ModelDigests
from agent.outcomes import HandedBack
from contract.environment import Lock, note_environment, read_index
from contract.objects import environment_key
from contract.outages import OUTAGES
from contract.s3 import S3
from contract.store import ContendedRecordError, read_document, write_document

DELAY: Final = 1.0
"""Seconds after the server was met: its first task comes first."""

INTERVAL: Final = 900.0
"""Seconds after which it is asked again: models come and go while it runs. By its asking again it says, too, that it is
still there (`contract.environment.LATELY`)."""

RETRIES: Final = (5.0, 60.0)
"""Seconds after which a look that has failed is repeated, the first and the longest."""

KNOWN_SECONDS: Final = 20.0
"""For so long a task that demands an environment waits until this one is known."""

_INDEX_SECONDS: Final = 30.0
"""For so long S3 is not asked again which environments are about."""

log = structlog.get_logger()


class TellsEnvironment(Protocol):
    """A runtime whose server tells of its environment."""

    async def tell_environment(self) -> Lock:
        """Returns what the server tells.

        Raises:
            TaskError: it does not answer.
        """


class EnvironmentKeeper:
    """Knows which environment the runtime has.

    Args:
        runtime: who tells.
        s3: where locks go.
        bucket: the output bucket.
        name: the runtime's, of config.yaml.
        image: the server's container image; empty: not known.
        fake: whether the runtime is a stand-in.
        digests: of the models that the agent sees, too.
    """

    def __init__(
        self,
        runtime: TellsEnvironment,
        s3: S3,
        bucket: str,
        name: str,
        *,
        image: str = "",
        fake: bool = False,
        digests: ModelDigests | None = None,
    ) -> None:
        self._runtime = runtime
        self._s3 = s3
        self._bucket = bucket
        self._name = name
        self._beside = {"image": image or None, "fake": fake}
        self._digests = digests
        self._incomplete = asyncio.Event()
        self._computing = False
        self._met = asyncio.Event()
        self._known = asyncio.Event()
        self._meetings = 0
        self._stored: set[str] = set()
        self._asked_at = -_INDEX_SECONDS
        self._about: dict[str, bool] = {}
        self._hash = ""

    @property
    def hash(self) -> str:
        """The hash of the runtime's environment; empty: not known."""
        return self._hash

    def meet(self) -> None:
        """Says that a server is there which may be another one than before."""
        self._meetings += 1
        self._hash = ""
        self._known.clear()
        self._met.set()

    async def run(self) -> None:
        """Looks each time that the server is met, and now and then in between; computes digests beside that."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_whenever_due())
            if self._digests is not None:
                group.create_task(self._compute(self._digests))

    async def _compute(self, digests: ModelDigests) -> None:
        while True:
            await self._incomplete.wait()
            self._incomplete.clear()
            self._computing = True
            try:
                if await digests.compute():
                    self._met.set()  # the same server, of which more is known
            finally:
                self._computing = False

    async def _look_whenever_due(self) -> None:
        while True:
            await self._met.wait()
            self._met.clear()
            await asyncio.sleep(DELAY)
            retry = RETRIES[0]
            while not self._met.is_set():
                if await self.look():
                    retry, pause = RETRIES[0], INTERVAL
                else:
                    retry, pause = min(2 * retry, RETRIES[1]), retry
                try:
                    async with asyncio.timeout(pause):
                        await self._met.wait()
                except TimeoutError:
                    continue

    async def look(self) -> bool:
        """Asks the server, and stores what it tells if that is news; returns whether all of that was done."""
        meeting = self._meetings
        try:
            told = _written(await self._runtime.tell_environment())
        except TaskError as error:
            log.warning("the runtime's environment is not known", error=str(error))
            return False
        lock = told.model_copy(update=self._beside).in_order()
        if self._digests is not None:
            lock = await self._digests.fill(lock)
            if self._digests.lacks:
                self._incomplete.set()
        hashed = await asyncio.to_thread(lambda: lock.hash)
        if meeting != self._meetings:
            return False
        if hashed != self._hash:
            log.info("the runtime's environment", environment=hashed, version=lock.version)
        self._hash = hashed
        self._known.set()
        return await self._store(lock, hashed)

    async def _store(self, lock: Lock, hashed: str) -> bool:
        try:
            if hashed not in self._stored:
                key = environment_key(self._name, hashed)
                if await read_document(self._s3, self._bucket, key) is None:
                    await write_document(self._s3, self._bucket, key, lock, replaced="")
                self._stored.add(hashed)
            await note_environment(self._s3, self._bucket, self._name, hashed)
        except OUTAGES as error:
            log.warning("the runtime's environment cannot be stored", error=describe(error))
            return False
        except (ContendedRecordError, ValidationError) as error:
            log.warning("the runtime's environment cannot be noted", error=str(error))
            return False
        return True

    def suits(self, wanted: str | None) -> bool:
        """Tells whether a task that demands an environment (None: any) may run here now."""
        return wanted is None or wanted == self._hash

    async def demand(self, wanted: str, *, receive_count: int) -> HandedBack | None:
        """Returns None when a task that demands an environment may run here, or what becomes of it instead.

        Args:
            wanted: the hash that it demands.
            receive_count: how often its message was received, this time included.

        Raises:
            PermanentError: no agent that has it is about, or none took the task.
        """
        try:
            async with asyncio.timeout(KNOWN_SECONDS):
                await self._known.wait()
        except TimeoutError:
            log.info("a task demands an environment, and this one is not known yet", wanted=wanted)
        if self._hash == wanted:
            return None
        # What is still being computed may turn out to be what is wanted.
        is_about = not self._hash or self._computing or await self._is_about(wanted)
        delay = detour(receive_count=receive_count, is_about=is_about, jitter=random.random())  # noqa: S311 - no secret
        if delay is not None:
            log.info("a task demands another environment", wanted=wanted, seconds=delay, receives=receive_count)
            return HandedBack(delay)
        have = f"this one has {self._hash[:12]}…" if self._hash else "what this one has is not known"
        about = "the agents that have it did not get the task" if is_about else "no agent that has it is about"
        raise PermanentError(
            "environment_differs",
            f"the task demands the environment {wanted[:12]}…, and {about}: {have}; name one that "
            f"GET /v1/runtimes/{self._name}/environment lists, or leave metadata.environment out",
        )

    async def _is_about(self, wanted: str) -> bool:
        """Tells whether an agent may have an environment now; yes, while S3 cannot be asked."""
        now = time.monotonic()
        if now - self._asked_at >= _INDEX_SECONDS:
            try:
                index = await read_index(self._s3, self._bucket, self._name)
            except OUTAGES:
                return True
            except ValidationError:
                log.exception("the index of environments is unreadable")
                return True
            moment = datetime.now(UTC)
            self._asked_at = now
            self._about = {name: index.lately(name, moment) for name in index.seen}
        return self._about.get(wanted, False)


def _written(lock: Lock) -> Lock:
    """Returns a lock that can be written: Python's servers tell a name that is no UTF-8 with lone surrogates."""
    text = json.dumps(lock.model_dump(), ensure_ascii=False)
    return Lock.model_validate(json.loads(text.encode("utf-8", "replace"))) if max(text) >= "\ud800" else lock

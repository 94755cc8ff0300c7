"""The dead letters as a resource: what lies in the dead-letter queues and why, sent back or deleted by hand.

SQS cannot be looked into: to see a message is to receive it, which hides it from others. So a look is short, hands back
all that it has seen, and serves everybody who asks within two seconds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from api.auth import Caller
from api.aws import AWS_ERRORS, S3, UNAVAILABLE, Sqs
from api.errors import InvalidRequestError, UnavailableError
from contract.config import Config
from contract.dead_letters import CannotRedriveError, DeadLetterQueue, Look
from contract.identifiers import TaskRef
from contract.redrive import DeadLetter
from contract.task_lists import TaskLists
from contract.topology import Topology

MOST: Final = 100
"""Letters of one runtime in an answer, and messages that one request sends back or deletes."""

_MOST_HELD: Final = 1000
_SECONDS: Final = 8.0
"""Of a look."""
_HELD_TO_LOOK: Final = 15
"""Seconds for which letters are hidden, should this process die during a look."""
_HELD_TO_MOVE: Final = 120
_EMPTY_RECEIVES: Final = 1
_REMEMBERED_SECONDS: Final = 2.0
_RECORDS_AT_ONCE: Final = 16

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Seen:
    letters: list[dict[str, Any]]
    whole: bool
    at: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the messages that a request names."""

    done: list[str]
    stayed: list[dict[str, str]]
    """`message_id` and `reason` of each that was found and left where it is."""
    not_found: list[str]
    """Not there, another tenant's, or in somebody else's hands just now."""
    tasks: list[TaskRef]
    """Those of what was done."""


class DeadLetters:
    """The dead-letter queues of all runtimes.

    Args:
        sqs: the client.
        s3: the client.
        lists: of tasks, one of which has those that are sent back.
        config: names the runtimes.
        place: names the queues.
        bucket: the output bucket.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        sqs: Sqs,
        s3: S3,
        lists: TaskLists,
        config: Config,
        place: Topology,
        bucket: str,
        clock: Callable[[], float],
    ) -> None:
        self._sqs = sqs
        self._s3 = s3
        self._lists = lists
        self._config = config
        self._place = place
        self._bucket = bucket
        self._clock = clock
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """One look at a queue at a time: two would hide letters from each other."""
        self._seen: dict[tuple[str, str | None], _Seen] = {}

    async def show(self, caller: Caller, runtime: str | None) -> dict[str, Any]:
        """Returns what `GET /v1/dead-letters` answers.

        Raises:
            InvalidRequestError: there is no such runtime.
            UnavailableError: AWS is out of reach.
        """
        names = [item.name for item in self._config.runtimes] if runtime is None else [self._known(runtime)]
        try:
            async with asyncio.TaskGroup() as group:
                looks = [group.create_task(self._look(caller, name)) for name in names]
        except* UNAVAILABLE as errors:
            raise _unavailable(errors.exceptions[0]) from errors
        seen = [look.result() for look in looks]
        letters = sorted((item for part in seen for item in part.letters), key=lambda item: str(item["sent_at"]))
        return {"dead_letters": letters[::-1], "whole": all(part.whole for part in seen)}

    async def redrive(self, caller: Caller, runtime: str, message_ids: Sequence[str]) -> Outcome:
        """Sends letters back to their queue.

        Raises:
            InvalidRequestError: there is no such runtime.
            UnavailableError: AWS is out of reach.
        """
        return await self._each(caller, runtime, message_ids, DeadLetterQueue.move)

    async def delete(self, caller: Caller, runtime: str, message_ids: Sequence[str]) -> Outcome:
        """Deletes letters whose tasks have ended.

        Raises:
            InvalidRequestError: there is no such runtime.
            UnavailableError: AWS is out of reach.
        """
        return await self._each(caller, runtime, message_ids, DeadLetterQueue.drop)

    async def _look(self, caller: Caller, runtime: str) -> _Seen:
        key = runtime, None if caller.admin else caller.tenant
        async with self._turns[runtime]:
            self._seen = {
                name: seen for name, seen in self._seen.items() if self._clock() - seen.at < _REMEMBERED_SECONDS
            }
            if key not in self._seen:
                letters, whole = await self._read(caller, runtime)
                self._seen[key] = _Seen(letters, whole, self._clock())
            return self._seen[key]

    async def _read(self, caller: Caller, runtime: str) -> tuple[list[dict[str, Any]], bool]:
        queue = await self._queue(runtime, _HELD_TO_LOOK)
        look = Look(
            most=MOST,
            most_held=_MOST_HELD,
            seconds=_SECONDS,
            whose=lambda letter: is_of(letter, caller),
            empty_receives=_EMPTY_RECEIVES,
        )
        async with queue.letters(look) as letters:
            pass
        room = asyncio.Semaphore(_RECORDS_AT_ONCE)

        async def view(letter: DeadLetter) -> dict[str, Any]:
            async with room:
                return await _view(queue, runtime, letter)

        return list(await asyncio.gather(*(view(letter) for letter in letters.found[:MOST]))), letters.whole

    async def _each(
        self,
        caller: Caller,
        runtime: str,
        message_ids: Sequence[str],
        act: Callable[[DeadLetterQueue, DeadLetter], Awaitable[None]],
    ) -> Outcome:
        look = Look(
            most_held=_MOST_HELD,
            seconds=_SECONDS,
            whose=lambda letter: is_of(letter, caller),
            ids=set(message_ids),
            empty_receives=_EMPTY_RECEIVES,
        )
        outcome = Outcome([], [], [], [])
        name = self._known(runtime)
        try:
            async with self._turns[name]:
                self._seen = {key: seen for key, seen in self._seen.items() if key[0] != name}
                queue = await self._queue(name, _HELD_TO_MOVE)
                async with queue.letters(look) as letters:
                    found = {letter.message_id: letter for letter in letters.found}
                    outcome.not_found.extend(item for item in dict.fromkeys(message_ids) if item not in found)
                    await _act(queue, list(found.values()), act, outcome)
        except UNAVAILABLE as error:
            if not (outcome.done or outcome.stayed):
                raise _unavailable(error) from error
            _log.warning("dead letters could not be handed back", runtime=name, error=repr(error))
        _log.info("dead letters", runtime=name, act=act.__name__, done=outcome.done, stayed=len(outcome.stayed))
        return outcome

    async def _queue(self, runtime: str, held: int) -> DeadLetterQueue:
        queue = self._place.queue(runtime)
        return DeadLetterQueue(
            sqs=self._sqs,
            s3=self._s3,
            url=(await self._sqs.get_queue_url(QueueName=queue.dead_letter_name))["QueueUrl"],
            queue_url=(await self._sqs.get_queue_url(QueueName=queue.name))["QueueUrl"],
            runtime=runtime,
            bucket=self._bucket,
            held=held,
            lists=self._lists,
        )

    def _known(self, runtime: str) -> str:
        if self._config.runtime(runtime) is None:
            known = [item.name for item in self._config.runtimes]
            raise InvalidRequestError(
                "runtime", f"there is no runtime {runtime[:80]!r}; there are {', '.join(known)}", allowed=known
            )
        return runtime


def is_of(letter: DeadLetter, caller: Caller) -> bool:
    """Tells whether a caller may see a letter: his tenant's, or any for an admin.

    One in which no task can be read is nobody's but an admin's, unless all share one space.
    """
    task = letter.task
    return caller.admin or (task.metadata.tenant if task else "") == caller.tenant


async def _act(
    queue: DeadLetterQueue,
    letters: Sequence[DeadLetter],
    act: Callable[[DeadLetterQueue, DeadLetter], Awaitable[None]],
    outcome: Outcome,
) -> None:
    """Does something with each letter; once AWS is out of reach, the rest stays."""
    away = ""
    for letter in letters:
        try:
            if not away:
                await act(queue, letter)
                outcome.done.append(letter.message_id)
                if letter.task is not None:
                    outcome.tasks.append(letter.task.metadata.ref)
                continue
        except CannotRedriveError as error:
            outcome.stayed.append({"message_id": letter.message_id, "reason": str(error)})
            continue
        except AWS_ERRORS as error:
            _log.warning("a dead letter stays", message_id=letter.message_id, error=repr(error))
            away = "AWS is out of reach; try again"
        outcome.stayed.append({"message_id": letter.message_id, "reason": away})


async def _view(queue: DeadLetterQueue, runtime: str, letter: DeadLetter) -> dict[str, Any]:
    """Returns a letter as the API shows it."""
    task = letter.task
    found = None
    if task is not None:
        try:
            record = await queue.record(task.metadata)
            found = record.find(task.metadata.submission) if record is not None else None
        except CannotRedriveError:
            _log.warning("record unreadable", task_id=task.metadata.id)
    return {
        "runtime": runtime,
        "message_id": letter.message_id,
        "id": task.metadata.id if task else None,
        "tenant": task.metadata.tenant if task else None,
        "submission": task.metadata.submission if task else None,
        "tasktype": task.metadata.tasktype if task else None,
        "reason": letter.reason,
        "sent_at": datetime.fromtimestamp(letter.sent_at / 1000, UTC),
        "status": found.status if found else None,
        "attempts": found.attempts if found else None,
    }


def _unavailable(error: BaseException) -> UnavailableError:
    _log.warning("cannot reach the dead letters", error=repr(error))
    return UnavailableError("the dead letters could not be reached; try again")

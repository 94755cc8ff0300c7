"""Makes a received message ready to run: reads it, looks at its record, and fetches its inputs. No GPU is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError

from agent.aws import persist
from agent.decisions import Arrival, deferral, on_arrival, refusal, retry_delay
from agent.environment import EnvironmentKeeper
from agent.errors import TaskError
from agent.holdings import Held, Holdings
from agent.inputs.payloads import Payloads
from agent.operations.gen_ai import Attributes
from agent.outcomes import Cancelled, Exhausted, Expired, HandedBack, Outcome, Raised, Settled, Unreadable
from agent.release import Release
from agent.runtimes.base import Runtime
from contract.inputs import NO_RULES
from contract.record import TooManyUnfinishedError, submission_of, submit
from contract.store import RecordStore, Stored
from contract.task import RuntimeType, TaskMessage, TaskType, UnreadableMessageError, parse_task_message
from contract.task_lists import TaskLists

log = structlog.get_logger()

RECEIVED_OFTEN: Final = 3
"""Receipts from which on SQS leaves a message out of its age of the oldest one (Amazon SQS, "Available CloudWatch
metrics"). Of those the agents tell how old they are, and an alarm of cloud/ counts on that line."""


class Preparation:
    """The stage before the run.

    Args:
        holdings: all held messages; second copies of one task are recognised by them.
        store: the task records.
        lists: of tasks; those that somebody else than the API has published are added.
        payloads: contents that were too large for their messages.
        runtime: fetches inputs in its own way.
        runtime_type: decides which task types are taken.
        visibility_timeout: seconds after which a second copy is looked at again for the first time.
        release: is told of each request, where results are marked.
        environment: of the runtime; without it a task that demands one is not judged.
        describe: makes what the span of a run says of it out of the task's type and content, where there are spans.
    """

    def __init__(
        self,
        *,
        holdings: Holdings,
        store: RecordStore,
        lists: TaskLists,
        payloads: Payloads,
        runtime: Runtime,
        runtime_type: RuntimeType,
        visibility_timeout: int,
        release: Release | None = None,
        environment: EnvironmentKeeper | None = None,
        describe: Callable[[TaskType, dict[str, Any]], Attributes] | None = None,
    ) -> None:
        self._release = release
        self._describe = describe
        self._holdings = holdings
        self._store = store
        self._lists = lists
        self._payloads = payloads
        self._runtime = runtime
        self._runtime_type = runtime_type
        self._visibility_timeout = visibility_timeout
        self._environment = environment

    def read(self, held: Held) -> Outcome | None:
        """Reads a message's body. Returns None when it is a task message, or what becomes of it instead."""
        try:
            task = parse_task_message(held.delivery.body)
        except UnreadableMessageError as error:
            return Unreadable(str(error))
        held.task = task
        # A foreign publisher knows of no submissions; the message's own id is as unique.
        held.submission_id = task.metadata.submission or held.delivery.message_id
        structlog.contextvars.bind_contextvars(**held.named)
        if held.delivery.receive_count >= RECEIVED_OFTEN and held.delivery.waited is not None:
            log.info(
                "task_received_again",
                runtime=task.metadata.runtime,
                receives=held.delivery.receive_count,
                age_seconds=round(held.delivery.waited),
            )
        return None

    async def prepare(self, held: Held) -> Outcome | None:
        """Makes a message that was read ready. Returns None when it may run, or what becomes of it instead.

        Raises:
            botocore.exceptions.ClientError: S3 refuses a request.
        """
        began = time.monotonic()
        if held.task is None:
            raise RuntimeError("the message has not been read yet")
        try:
            outcome = await self._look_up(held, held.task)
            wanted = held.task.metadata.environment
            if outcome is None and wanted is not None and self._environment is not None:
                outcome = await self._environment.demand(wanted, receive_count=held.delivery.receive_count)
            if outcome is None:
                await self._localise(held, held.task)
        except TaskError as error:
            outcome = Raised(error)
        held.preparing_seconds = time.monotonic() - began
        return outcome

    async def _look_up(self, held: Held, task: TaskMessage) -> Outcome | None:
        """Reads the record. Returns None when the task may run."""
        if self._holdings.twin_of(held) is not None:
            log.info("second_copy", of="a task held here")
            return self._put_off(held)
        try:
            held.keep(await self._read_record(task, held))
        except TooManyUnfinishedError:
            return HandedBack(self._visibility_timeout)
        except ValidationError:
            log.exception("record_unreadable")
            return HandedBack(retry_delay(held.delivery.receive_count, jitter=0))
        held.seen_attempts = held.submission.attempts
        return self._by_record(held)

    def _by_record(self, held: Held) -> Outcome | None:
        delivery = held.delivery
        now = datetime.now(UTC)
        match on_arrival(held.submission, receive_count=delivery.receive_count, message=delivery.message_id, now=now):
            case Arrival.RUN:
                return None
            case Arrival.SETTLE:
                return Settled()
            case Arrival.CANCEL:
                return Cancelled()
            case Arrival.EXHAUST:
                return Exhausted()
            case Arrival.EXPIRE:
                return Expired()
            case Arrival.DEFER:
                log.info("second_copy", of="a task that runs elsewhere")
                return self._put_off(held)

    def _put_off(self, held: Held) -> HandedBack:
        return HandedBack(deferral(held.delivery.receive_count, self._visibility_timeout))

    async def _localise(self, held: Held, task: TaskMessage) -> None:
        error = refusal(task.metadata.tasktype, self._runtime_type)
        if error is not None:
            raise error
        content = await self._payloads.content_of(task)
        if self._release is not None:
            self._release.note_request(held, content)
        metadata = task.metadata
        if self._describe is not None:
            held.described = self._describe(metadata.tasktype, content)
        held.prepared = await self._runtime.prepare(
            metadata.tasktype, content, tenant=metadata.tenant, rules=metadata.inputs or NO_RULES
        )

    async def _read_record(self, task: TaskMessage, held: Held) -> Stored:
        """Returns the record, made now when somebody else than the API has published the task.

        A submission that has ended long ago is asked about, for it must not be taken for a new one.
        """
        metadata, submission_id, sent = task.metadata, held.submission_id, held.delivery.sent_at
        stored = await persist(lambda: self._store.read(metadata.ref, about=submission_id), "s3:GetObject record")
        if stored is not None and stored.record.find(submission_id) is not None:
            return stored
        new = submission_of(
            metadata,
            submission=submission_id,
            submitted_at=metadata.submitted_at or datetime.now(UTC),
            sent_at=None if sent is None else datetime.fromtimestamp(sent, UTC),
        )
        made = await persist(
            lambda: self._store.change(
                metadata.ref,
                lambda record: submit(record, metadata.ref, new),
                known=stored,
                expect_absent=stored is None,
                about=submission_id,
            ),
            "s3:PutObject record",
        )
        # Nobody waits for it: the task is found by its id, and runs.
        self._lists.submitted(
            metadata.ref, submission_id, runtime=new.runtime, tasktype=new.tasktype, at=new.submitted_at
        )
        return made

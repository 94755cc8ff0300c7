"""The messages that this agent holds, and how far each has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from agent.marks.facts import Facts
from agent.runtimes.base import Prepared
from contract.costs import Cost
from contract.record import Submission, TransitionError
from contract.store import Stored
from contract.task import Metadata, TaskMessage


@dataclass(frozen=True)
class Delivery:
    """One message as SQS handed it out."""

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int = 1
    sent_at: float | None = None
    """When it was sent, by the wall clock (Unix seconds)."""
    waited: float | None = None
    """Seconds from then to its receipt, both by SQS's clock; None: SQS does not tell."""
    received_at: float = field(default_factory=time.monotonic)
    """By the monotonic clock."""
    trace: str | None = None
    """The message's X-Ray header (system attribute `AWSTraceHeader`)."""


class Stage(StrEnum):
    """How far a held message has come."""

    PREPARING = "preparing"
    PREPARED = "prepared"
    RUNNING = "running"
    FINISHING = "finishing"


class Interruption(StrEnum):
    """Why a run is stopped before its end."""

    CANCEL = "cancel"
    """The user asked for it."""
    OVERTAKEN = "overtaken"
    """The record refuses us: it ended, or another agent holds it."""
    TIMEOUT = "timeout"
    DRAIN = "drain"
    """This agent ends."""
    WITHDRAWN = "withdrawn"
    """It waits behind a run that does not end; another agent may have it."""


@dataclass(eq=False, slots=True)
class Held:
    """One message from its receipt to its deletion. Written by the pipeline's stages only."""

    delivery: Delivery
    confirmed_at: float = field(default_factory=time.monotonic)
    """When SQS last said that the message is ours, by the monotonic clock."""
    received_at: float = field(default_factory=time.monotonic)
    """When it was received first, by the monotonic clock."""
    stage: Stage = Stage.PREPARING
    lost: bool = False
    """SQS says that the message is no longer ours; the record decides who may finish."""
    released: bool = False
    """It is being handed back: no heartbeat may hide it again."""
    task: TaskMessage | None = None
    submission_id: str = ""
    stored: Stored | None = None
    """The record as last seen."""
    checked_at: float = 0.0
    """When `stored` was read, by the monotonic clock."""
    seen_attempts: int = 0
    """Attempts when this agent decided to run the task."""
    preparing: asyncio.Task[None] | None = None
    prepared: Prepared | None = None
    facts: Facts | None = None
    """What its files' content credentials may tell of its request; None where they have none."""
    preparing_seconds: float = 0.0
    described: dict[str, str | int] = field(default_factory=dict)
    """What the span of its run says of it; empty where there are no spans."""
    queued_seconds: float | None = None
    """From its publication to the start of this attempt; None: not known."""
    holder: str = ""
    """The token of the attempt, unique to it; empty until a run begins."""
    attempt: int = 0
    """The attempt's number, once the record has it."""
    starting: asyncio.Task[None] | None = None
    """The write of the start, which goes on beside the run."""
    refused: TransitionError | None = None
    """Why the record did not let the run start."""
    interruption: asyncio.Future[Interruption] | None = None
    cost_before: Cost | None = None
    """What earlier attempts have cost, as far as the record told when this one began."""
    gpu_since: float | None = None
    """When the GPU came to this run, by the monotonic clock; None: it has not, or it is done with it."""
    gpu_spent: float = 0.0
    """Seconds that it took."""
    progress: float = 0.0
    reported_progress: float = 0.0

    @property
    def age(self) -> float | None:
        """Seconds since its message was published, by SQS's clock until its receipt; None: SQS does not tell."""
        waited = self.delivery.waited
        return None if waited is None else waited + time.monotonic() - self.delivery.received_at

    @property
    def gpu_seconds(self) -> float:
        """Seconds of the GPU that this run has taken so far."""
        return self.gpu_spent if self.gpu_since is None else time.monotonic() - self.gpu_since

    def enter_gpu(self) -> None:
        """Notes that the GPU comes to this run."""
        self.gpu_since = time.monotonic()

    def leave_gpu(self) -> None:
        """Notes that the GPU is done with this run, or that it never came to it."""
        self.gpu_spent, self.gpu_since = self.gpu_seconds, None

    @property
    def trace(self) -> str | None:
        """The X-Ray header of the request, from the task or else from the message."""
        carried = self.task.metadata.trace if self.task is not None else None
        return carried or self.delivery.trace

    @property
    def is_holder(self) -> bool:
        """Whether the record, as last seen, names this attempt as the newest and still under way."""
        found = self.submission
        return not found.status.terminal and found.holder == self.holder and found.attempts == self.attempt

    def is_stale(self, visibility_timeout: float) -> bool:
        """Tells whether others may have the message by now: SQS said so, or has not confirmed it for so long."""
        return self.lost or time.monotonic() - self.confirmed_at > visibility_timeout

    @property
    def metadata(self) -> Metadata:
        """The task's metadata; only once the message was read."""
        if self.task is None:
            raise RuntimeError("the message has not been read yet")
        return self.task.metadata

    @property
    def named(self) -> dict[str, str]:
        """What its lines of the log carry."""
        tenant = {"tenant": self.metadata.tenant} if self.metadata.tenant else {}
        return {"task_id": self.metadata.id, **tenant, "submission": self.submission_id}

    @property
    def submission(self) -> Submission:
        """The submission as last seen; only once the record was read."""
        found = self.stored.record.find(self.submission_id) if self.stored is not None else None
        if found is None:
            raise RuntimeError("the record has not been read yet")
        return found

    def keep(self, stored: Stored) -> None:
        """Remembers the record as it stands now."""
        self.stored = stored
        self.checked_at = time.monotonic()

    def interrupt(self, reason: Interruption) -> None:
        """Asks for the end of the run; the first reason stands. Without a run, nothing happens."""
        if self.interruption is not None and not self.interruption.done():
            self.interruption.set_result(reason)

    def note_progress(self, progress: float) -> None:
        """Takes the runtime's progress (0 to 1), which is reported with the next look at the record."""
        self.progress = max(self.progress, min(1.0, progress))


class Holdings:
    """All held messages, by message and by submission."""

    def __init__(self) -> None:
        self._by_message: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._by_message)

    def __contains__(self, held: Held) -> bool:
        return self._by_message.get(held.delivery.message_id) is held

    def __iter__(self) -> Iterator[Held]:
        return iter(list(self._by_message.values()))

    def add(self, delivery: Delivery) -> Held | None:
        """Takes a message in. Returns None when it is held already; then the newer receipt handle is kept.

        One that is being handed back, and comes again to a poll of our own before SQS has said so, is a new one.
        """
        held = self._by_message.get(delivery.message_id)
        if held is not None and not held.released:
            held.delivery = delivery
            held.confirmed_at = time.monotonic()
            held.lost = False
            return None
        held = Held(delivery)
        self._by_message[delivery.message_id] = held
        return held

    def discard(self, held: Held) -> None:
        """Lets a message go; one that is not held changes nothing."""
        if self._by_message.get(held.delivery.message_id) is held:
            del self._by_message[held.delivery.message_id]

    def twin_of(self, held: Held) -> Held | None:
        """Returns another held message of the same submission, or None."""
        return next(
            (
                other
                for other in self._by_message.values()
                if other is not held
                and other.task is not None
                and other.submission_id == held.submission_id
                and other.metadata.ref == held.metadata.ref
            ),
            None,
        )

    def finishing(self) -> int:
        """Returns how many messages are on their way out."""
        return self.count(Stage.FINISHING)

    def count(self, *stages: Stage) -> int:
        """Returns how many messages are in one of the stages."""
        return sum(held.stage in stages for held in self._by_message.values())

"""Decides which dead letters go back, and as what message."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from ulid import ULID

from contract.record import Record, Status, Submission, submission_of
from contract.task import TaskMessage, UnreadableMessageError, parse_task_message

TOO_OFTEN: Final = "received too often"
"""The reason of a message that SQS itself has moved: nobody had the time to write one."""

_VARYING: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-fA-F-]{8,}\b|\b\d+(?:\.\d+)?\b")


@dataclass(frozen=True)
class DeadLetter:
    """One message of a dead-letter queue."""

    message_id: str
    receipt_handle: str
    body: str
    reason: str
    sent_at: int
    """Milliseconds since 1970."""

    @property
    def task(self) -> TaskMessage | None:
        """The task in it; None when it cannot be read, which is why it is here."""
        try:
            return parse_task_message(self.body)
        except UnreadableMessageError:
            return None

    @property
    def name(self) -> str:
        """The task's id; the message's when there is no task in it."""
        task = self.task
        return task.metadata.id if task else self.message_id


def kind_of(reason: str) -> str:
    """Returns a reason without what differs from task to task: numbers, ids, and whatever is quoted."""
    return _VARYING.sub("…", reason)


def count_by_reason(letters: Iterable[DeadLetter]) -> list[tuple[str, int]]:
    """Returns how many dead letters each kind of reason has, the most frequent first."""
    return Counter(kind_of(letter.reason) for letter in letters).most_common()


def is_selected(letter: DeadLetter, reasons: Iterable[str]) -> bool:
    """Tells whether a dead letter's reason contains one of these texts, in any case; no text selects every letter."""
    wanted = [reason.casefold() for reason in reasons]
    return not wanted or any(text in letter.reason.casefold() for text in wanted)


def next_submission(letter: DeadLetter) -> str:
    """Returns the ULID under which a dead letter's task is submitted again; the same one however often it is asked.

    Derived, not drawn: should the letter be sent twice, its task is recognised and runs once.
    """
    digest = hashlib.sha256(letter.message_id.encode()).digest()
    return str(ULID.from_bytes(letter.sent_at.to_bytes(6, "big") + digest[:10]))


def resubmitted(task: TaskMessage, submission: str, now: datetime) -> TaskMessage:
    """Returns the task as a new submission: an agent does not run one again whose record has ended.

    Whoever sends it back wants it now, whenever it was to begin at first.
    """
    metadata = task.metadata.model_copy(
        update={"submission": submission, "submitted_at": now, "start_by": None, "trace": None}
    )
    return task.model_copy(update={"metadata": metadata})


def as_submission(task: TaskMessage, now: datetime) -> Submission:
    """Returns what the record says of a task that waits in its queue again."""
    return submission_of(task.metadata, submitted_at=now)


class Way(StrEnum):
    """How a letter goes back."""

    AS_IT_IS = "as it is"
    ANEW = "anew"
    """As a new submission: its own has failed, and would not be run again."""
    TO_SETTLE = "to settle"
    """As it is, needing no content: it has succeeded or was cancelled after all; an agent only tells so again."""


def way_back(record: Record | None, task: TaskMessage) -> Way:
    """Returns how the letter of a task goes back, by what the record knows of its submission."""
    found = record.find(task.metadata.submission) if record is not None else None
    if found is None or not found.status.terminal:
        return Way.AS_IT_IS
    return Way.ANEW if found.status is Status.FAILED else Way.TO_SETTLE

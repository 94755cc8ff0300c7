"""The ledger of one submission's webhook: what was to be delivered, and how each attempt went. Pure functions.

It lies beside the record (`contract.objects.ledger_key`) and is replaced by conditional writes alone. Whoever is about
to make an attempt takes it for a while (`hold`), so that two never deliver for one submission at the same time, and
events arrive in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from contract.identifiers import TaskRef
from contract.webhooks import Event

KEPT_ATTEMPTS: Final = 20
"""Attempts of one delivery that a ledger keeps, the newest."""

KEPT_PROGRESS: Final = 20
"""Reports of progress that are over and are kept, the newest."""

_DOCUMENT: Final = ConfigDict(frozen=True, extra="allow")
"""What a newer version has written stays when an older one changes the ledger."""


class State(StrEnum):
    """What has become of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    """Given up: after a day, or because the receiver is gone (410) or not to be reached at all."""
    SUPERSEDED = "superseded"
    """A report of progress that newer news have overtaken."""


class Attempt(BaseModel):
    """One try to deliver."""

    model_config = _DOCUMENT

    at: datetime
    seconds: float = 0.0
    status: int | None = None
    """Of the HTTP answer; None: there was none."""
    error: str = ""
    """Why it failed; empty: it did not."""


class Delivery(BaseModel):
    """One event on its way to the receiver."""

    model_config = _DOCUMENT

    n: int
    """Its number within the submission, from 1."""
    id: str
    """The `webhook-id`: the same at each attempt, so that a receiver can tell what it knows."""
    event: Event
    at: datetime
    """When it happened."""
    progress: float | None = None
    """Of the task when it happened."""
    state: State = State.PENDING
    attempts: int = 0
    tries: tuple[Attempt, ...] = ()
    """The newest attempts."""
    due: datetime
    """When it is tried next; of no meaning once it is over."""
    since: datetime
    """From when on its time is counted, after which it is given up."""
    round: int = 0
    """Attempts since then."""


class Ledger(BaseModel):
    """The document at `.webhooks/{id}/{submission}.json`."""

    model_config = _DOCUMENT

    version: int = 1
    id: str
    tenant: str = ""
    submission: str
    deliveries: tuple[Delivery, ...] = ()
    numbered: int = 0
    """How many deliveries there were, those that are not kept included."""
    holder: str = ""
    """Who makes an attempt just now."""
    held_until: datetime | None = None

    @property
    def ref(self) -> TaskRef:
        """Which task it is about."""
        return TaskRef(self.id, self.tenant)

    @property
    def pending(self) -> Sequence[Delivery]:
        """What is not over, in order."""
        return [item for item in self.deliveries if item.state is State.PENDING]

    def find(self, n: int) -> Delivery | None:
        """Returns a delivery by its number; None when there is none, or none any more."""
        return next((item for item in self.deliveries if item.n == n), None)

    def of(self, *events: Event) -> Sequence[Delivery]:
        """Returns the deliveries of some events, in order."""
        return [item for item in self.deliveries if item.event in events]

    def replace(self, changed: Delivery) -> Ledger:
        """Returns the ledger with one delivery replaced."""
        return self.with_deliveries([changed if item.n == changed.n else item for item in self.deliveries])

    def with_deliveries(self, deliveries: Sequence[Delivery]) -> Ledger:
        """Returns the ledger with other deliveries."""
        return self.model_copy(update={"deliveries": tuple(deliveries)})

    def add(self, event: Event, *, key: str, at: datetime, now: datetime, progress: float | None = None) -> Ledger:
        """Returns the ledger with one delivery more, which is due at once.

        Args:
            event: what has happened.
            key: tells this event from all others of the submission; part of its id.
            at: when it happened.
            now: when that is noted.
            progress: of the task, when it happened.
        """
        number = self.numbered + 1
        # A dot ends the id in what is signed (Standard Webhooks, "Signature scheme"), so there is none in it.
        made = Delivery(
            n=number, id=f"msg_{self.submission}_{key}", event=event, at=at, progress=progress, due=now, since=now
        )
        return self.model_copy(update={"deliveries": (*self.deliveries, made), "numbered": number})

    def is_held(self, now: datetime) -> bool:
        """Tells whether somebody makes an attempt just now."""
        return bool(self.holder) and self.held_until is not None and self.held_until > now

    def hold(self, holder: str, until: datetime) -> Ledger:
        """Returns the ledger in the hands of one who makes an attempt."""
        return self.model_copy(update={"holder": holder, "held_until": until})

    def release(self, holder: str) -> Ledger:
        """Returns the ledger in nobody's hands, unless it is in another's by now."""
        return self.model_copy(update={"holder": "", "held_until": None}) if self.holder == holder else self


Change = Callable[[Ledger], Ledger]


def redeliver(ledger: Ledger, n: int, now: datetime) -> Ledger:
    """Returns the ledger in which a delivery is due once more, under its own id, as if for the first time.

    Raises:
        LookupError: there is none of this number.
    """
    found = ledger.find(n)
    if found is None:
        raise LookupError(f"there is no delivery {n}")
    return ledger.replace(found.model_copy(update={"state": State.PENDING, "due": now, "since": now, "round": 0}))

"""Decides what is delivered to a webhook, when, and when that is given up; pure functions, no I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from contract.deliveries import KEPT_ATTEMPTS, KEPT_PROGRESS, Attempt, Delivery, Ledger, State
from contract.record import Status, Submission, is_not_accepted
from contract.webhooks import TERMINAL, Event

GROWTH: Final = 3.0
"""By which each wait is longer than the one before."""

_GONE: Final = 410
"""Standard Webhooks, "Delivery": the receiver wants no more of them."""

_BUSY: Final = frozenset({429, 503})
"""With `Retry-After`, as long as that says (RFC 9110, section 10.2.3)."""


@dataclass(frozen=True)
class Rules:
    """How long things may take."""

    first_wait: timedelta = timedelta(seconds=5)
    """Between the first attempt and the second; each further wait is `GROWTH` times as long."""
    longest_wait: timedelta = timedelta(hours=3)
    give_up_after: timedelta = timedelta(days=1)
    """From when a delivery became due; at least two attempts are made."""


class Verdict(Enum):
    """What an attempt came to."""

    DELIVERED = auto()
    FAILED = auto()
    """It may work later."""
    HOPELESS = auto()
    """It never will: the receiver is gone, or is none that is ever connected to."""


def verdict_of(status: int) -> Verdict:
    """Returns what an HTTP answer means: any 2xx is success, and nothing else is; redirects are not followed."""
    if 200 <= status <= 299:
        return Verdict.DELIVERED
    return Verdict.HOPELESS if status == _GONE else Verdict.FAILED


def note_news(ledger: Ledger, submission: Submission, now: datetime) -> Ledger:
    """Returns the ledger with all that has happened to a submission since, and that its webhook wants to hear.

    The start comes before any progress, and the end last of all, whenever it is looked. Progress is a sample: a report
    that newer news overtake before it was delivered is left out.
    """
    if submission.webhook is None or is_not_accepted(submission):
        return ledger
    wanted = submission.webhook.events
    if Event.RUNNING in wanted and submission.attempts and not ledger.of(Event.RUNNING, *TERMINAL):
        at = submission.started_at or now
        ledger = ledger.add(Event.RUNNING, key=Event.RUNNING.value, at=at, now=now)
    ended = submission.status.terminal
    if Event.PROGRESS in wanted and not ended and submission.progress:
        reports = ledger.of(Event.PROGRESS)
        if not reports or reports[-1].progress != submission.progress:
            key = f"{Event.PROGRESS}_{ledger.numbered + 1}"
            ledger = _supersede(ledger).add(Event.PROGRESS, key=key, at=now, now=now, progress=submission.progress)
            ledger = _forget_progress(ledger)
    if ended:
        ledger = _supersede(ledger)
        # Whoever waits for a task's failure is not to miss this one; `data.status` says which it is.
        end = Event.FAILED if submission.status is Status.EXPIRED else Event(submission.status.value)
        if end in wanted and not ledger.of(*TERMINAL):
            ledger = ledger.add(end, key=end.value, at=submission.finished_at or now, now=now)
    return ledger


def _supersede(ledger: Ledger) -> Ledger:
    def judged(item: Delivery) -> Delivery:
        # Somebody has asked for one that is due since later than it happened: it goes out, whatever came after it.
        waits = item.event is Event.PROGRESS and item.state is State.PENDING and item.since <= item.at
        return item.model_copy(update={"state": State.SUPERSEDED}) if waits else item

    return ledger.with_deliveries([judged(item) for item in ledger.deliveries])


def _forget_progress(ledger: Ledger) -> Ledger:
    over = [item.n for item in ledger.of(Event.PROGRESS) if item.state is not State.PENDING]
    forgotten = {*over[:-KEPT_PROGRESS]}
    return ledger.with_deliveries([item for item in ledger.deliveries if item.n not in forgotten])


def is_settled(submission: Submission) -> bool:
    """Tells whether nothing will ever happen to a submission any more that a webhook could hear of."""
    return submission.status.terminal


def head(ledger: Ledger) -> Delivery | None:
    """Returns what is to be delivered next, before all that came after it; None: all is over."""
    return next(iter(ledger.pending), None)


def after_attempt(
    ledger: Ledger,
    n: int,
    attempt: Attempt,
    verdict: Verdict,
    *,
    holder: str = "",
    now: datetime,
    rules: Rules,
    jitter: float,
    retry_after: float = 0.0,
) -> Ledger:
    """Returns the ledger after an attempt, no longer in the hands of who made it.

    Args:
        ledger: as it stands.
        n: the delivery's number; one that is over meanwhile stays over.
        attempt: what happened.
        verdict: what that means.
        holder: who made it.
        now: the time.
        rules: how long things may take.
        jitter: 0 to 1, drawn by the caller.
        retry_after: seconds that the receiver asks to be left alone.
    """
    found, ledger = ledger.find(n), ledger.release(holder)
    if found is None:
        return ledger
    made = found.round + 1
    due = now + wait_after(made, rules=rules, jitter=jitter, retry_after=retry_after)
    state = found.state
    if verdict is Verdict.DELIVERED:
        state = State.DELIVERED
    elif verdict is Verdict.HOPELESS or (made > 1 and due > found.since + rules.give_up_after):
        state = State.EXHAUSTED
    return ledger.replace(
        found.model_copy(
            update={
                "state": state,
                "attempts": found.attempts + 1,
                "tries": (*found.tries, attempt)[-KEPT_ATTEMPTS:],
                "due": due if state is State.PENDING else now,
                "round": made,
            }
        )
    )


def wait_after(attempts: int, *, rules: Rules, jitter: float, retry_after: float = 0.0) -> timedelta:
    """Returns how long to wait after so many attempts that failed: longer each time, then cut by up to a quarter."""
    longest = rules.longest_wait.total_seconds()
    # Beyond some 40 doublings of any first wait lies any longest one.
    wait = min(longest, rules.first_wait.total_seconds() * GROWTH ** min(attempts - 1, 40))
    return timedelta(seconds=max(wait * (1 - 0.25 * jitter), min(retry_after, longest)))


def asked_wait(status: int, header: str) -> float:
    """Returns the seconds that an answer asks to be left alone; 0: it does not ask, or in no seconds."""
    return float(header) if status in _BUSY and header.isascii() and header.isdigit() and len(header) < 7 else 0.0


def put_off(ledger: Ledger, n: int, until: datetime) -> Ledger:
    """Returns the ledger in which a delivery is not tried before a time, without an attempt having been made."""
    found = ledger.find(n)
    if found is None or found.state is not State.PENDING or found.due >= until:
        return ledger
    return ledger.replace(found.model_copy(update={"due": until}))


def as_it_was(delivery: Delivery, submission: Submission) -> Submission:
    """Returns a submission as it stood when an event happened: what came later is not told with it."""
    if delivery.event.terminal:
        return submission
    return submission.model_copy(
        update={
            "status": Status.RUNNING,
            "progress": delivery.progress,
            "finished_at": None,
            "image_url": [],
            "output_url": "",
            "error": None,
            "warnings": [],
            "timings": None,
            "dead_lettered": False,
            "callback_error": None,
        }
    )

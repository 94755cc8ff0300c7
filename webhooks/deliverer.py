"""Follows a nudge: looks at a submission's record and ledger, and delivers what is due.

What keeps a delivery from being lost: a nudge leaves the queue only when all that the record tells is over in the
ledger, or when another nudge is there for the rest. Whoever leaves something pending in the ledger has a nudge; a crash
in between brings the message back.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from pydantic import ValidationError

from contract.deliveries import Attempt, Delivery, Ledger, State
from contract.ledgers import Ledgers, StoredLedger
from contract.links import Links
from contract.record import Submission
from contract.store import RecordStore, S3Client
from contract.webhook_secrets import Secrets
from contract.webhooks import Nudge, Webhook
from webhooks.metrics import Metrics
from webhooks.payload import body_of, headers_of
from webhooks.policy import Rules, Verdict, after_attempt, head, is_settled, note_news, put_off
from webhooks.receivers import Breaker, Receiver, Receivers
from webhooks.sender import Outcome, Sender

MOST_AT_ONCE: Final = 5
"""Deliveries of one submission that one nudge brings about; then others have their turn."""

_HOLD_MARGIN: Final = 15.0
"""Seconds for which a ledger is held beyond the time that an attempt may take."""

_HELD_WAIT: Final = 2.0
"""Seconds until a look at a ledger that is in another's hands."""

_FULL_WAIT: Final = 2.0
_LONGEST_FULL_WAIT: Final = 120.0
"""Seconds until a receiver is looked at again that takes as many attempts as it may; doubled each time."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Followed:
    """What is to become of a nudge."""

    again: float | None = None
    """Seconds after which it is wanted again; None: it has done all that it can."""
    deferred: int = 0
    owner: bool = False
    """As in the nudge that is to come again."""
    exhausted: tuple[Delivery, ...] = ()
    """What was given up meanwhile."""


_OVER: Final = Followed()


@dataclass(frozen=True, slots=True)
class _Due:
    """An attempt that is due."""

    nudge: Nudge
    submission: Submission
    webhook: Webhook
    delivery: Delivery
    ledger: Ledger
    """With all that has happened."""
    stored: StoredLedger
    """Which that one is to replace."""


class Deliverer:
    """Makes deliveries.

    Args:
        s3: where records and ledgers are.
        bucket: the output bucket.
        links: makes links to results.
        secrets: sign.
        sender: makes attempts.
        receivers: limit them.
        rules: how long things may take.
        metrics: count them.
        anchor_seconds: between two looks at a task that has not ended.
        holder: a name that no other process has.
    """

    def __init__(
        self,
        *,
        s3: S3Client,
        bucket: str,
        links: Links,
        secrets: Callable[[], Secrets],
        sender: Sender,
        receivers: Receivers,
        rules: Rules,
        metrics: Metrics,
        anchor_seconds: float,
        holder: str,
    ) -> None:
        self._bucket = bucket
        self._store = RecordStore(s3, bucket)
        self._ledgers = Ledgers(s3, bucket)
        self._links = links
        self._secrets = secrets
        self._sender = sender
        self._receivers = receivers
        self._rules = rules
        self._metrics = metrics
        self._anchor_seconds = anchor_seconds
        self._holder = holder
        self._held = 0

    async def follow(self, nudge: Nudge) -> Followed:
        """Does what a nudge calls for.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, ContendedRecordError: S3 is out of reach; nothing is lost.
        """
        exhausted: list[Delivery] = []
        followed = Followed(again=0.0)
        for _ in range(MOST_AT_ONCE):
            submission = await self._submission(nudge)
            if submission is None or submission.webhook is None:
                followed = _OVER
                break
            step = await self._step(nudge, submission, submission.webhook)
            if isinstance(step, Followed):
                followed = step
                break
            if step.state is State.EXHAUSTED:
                exhausted.append(step)
            elif step.state is State.PENDING:
                followed = Followed(again=_seconds_until(step), owner=True)
                break
        return replace(followed, exhausted=tuple(exhausted))

    async def _submission(self, nudge: Nudge) -> Submission | None:
        try:
            stored = await self._store.read(nudge.task, about=nudge.submission)
        except ValidationError as error:
            # No trace: it would show the record, and with it the webhook's address.
            log.error("record unreadable", task_id=nudge.task.id, faults=error.error_count())  # noqa: TRY400
            return None
        return stored.record.find(nudge.submission) if stored is not None else None

    async def _step(self, nudge: Nudge, submission: Submission, webhook: Webhook) -> Followed | Delivery:
        """Makes one attempt if one is due, and returns the delivery as it stands then."""
        now = datetime.now(UTC)
        stored = await self._ledgers.read(nudge.task, nudge.submission)
        if stored.ledger.is_held(now):
            wait = _HELD_WAIT * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
            return Followed(again=wait, deferred=nudge.deferred, owner=nudge.owner)
        ledger = note_news(stored.ledger, submission, now)
        due = head(ledger)
        # An anchor stays until the end is in the ledger.
        anchored = Followed(again=self._anchor_seconds) if nudge.anchor and not is_settled(submission) else _OVER
        if due is None:
            await self._write_news(stored, ledger)
            return anchored
        if due.due > now:
            await self._write_news(stored, ledger)
            return Followed(again=_seconds_until(due), owner=True) if nudge.owner else anchored
        receiver: Receiver = (nudge.task.tenant, webhook.origin)
        pause = self._receivers.pause(receiver, time.monotonic())
        if pause > 0:
            until = now + timedelta(seconds=pause * random.uniform(1.0, 1.5))  # noqa: S311 - no secret
            ledger = await self._ledgers.change(
                stored, lambda found: put_off(note_news(found, submission, now), due.n, until)
            )
            return ledger.find(due.n) or _OVER
        if not self._receivers.has_room(receiver):
            await self._write_news(stored, ledger)
            wait = min(_LONGEST_FULL_WAIT, _FULL_WAIT * 2.0 ** min(nudge.deferred, 10))
            wait *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            return Followed(again=wait, deferred=nudge.deferred + 1, owner=nudge.owner)
        with self._receivers.attempt(receiver) as breaker:
            return await self._attempt(_Due(nudge, submission, webhook, due, ledger, stored), breaker)

    async def _attempt(self, due: _Due, breaker: Breaker) -> Followed | Delivery:
        began = datetime.now(UTC)
        self._held += 1
        until = began + timedelta(seconds=self._sender.seconds + _HOLD_MARGIN)
        holder = f"{self._holder}/{self._held}"
        held = await self._ledgers.replace(due.stored, due.ledger.hold(holder, until))
        if held is None:
            return Followed(again=0.0, owner=due.nudge.owner)  # somebody else was faster
        clock = time.monotonic()
        outcome = await self._send(due)
        attempt = Attempt(
            at=began, seconds=round(time.monotonic() - clock, 3), status=outcome.status, error=outcome.error
        )
        breaker.note(succeeded=outcome.status is not None and outcome.status < 500, now=time.monotonic())
        self._metrics.attempts.labels(outcome.verdict.name.lower()).inc()
        jitter = random.random()  # noqa: S311 - no secret
        after = await self._ledgers.change(
            held,
            lambda found: after_attempt(
                found,
                due.delivery.n,
                attempt,
                outcome.verdict,
                holder=holder,
                now=datetime.now(UTC),
                rules=self._rules,
                jitter=jitter,
                retry_after=outcome.retry_after,
            ),
        )
        changed = after.find(due.delivery.n) or due.delivery
        say = log.info if changed.state is State.DELIVERED else log.warning
        say(
            "webhook",
            task_id=due.ledger.id,
            webhook=changed.id,
            to=due.webhook.origin,
            state=changed.state,
            attempt=changed.attempts,
            **attempt.model_dump(include={"status", "error", "seconds"}),
        )
        return changed

    async def _send(self, due: _Due) -> Outcome:
        ledger, delivery = due.ledger, due.delivery
        secrets = self._secrets().of(ledger.tenant)
        if not secrets:
            return Outcome(Verdict.FAILED, error="no secret is set for this tenant (WEBHOOK_SECRETS)")
        body = await body_of(ledger.ref, due.submission, delivery, bucket=self._bucket, links=self._links)
        headers = headers_of(body, delivery, secrets=secrets, now=datetime.now(UTC))
        return await self._sender.send(due.webhook.url, body, headers)

    async def _write_news(self, stored: StoredLedger, ledger: Ledger) -> None:
        """Writes what has happened, so that it is seen; whoever is faster writes the same."""
        if ledger != stored.ledger:
            await self._ledgers.replace(stored, ledger)


def _seconds_until(delivery: Delivery) -> float:
    return max(0.0, (delivery.due - datetime.now(UTC)).total_seconds())

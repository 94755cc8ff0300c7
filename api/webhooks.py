"""What the API does for webhooks: takes them, anchors them in their queue, shows and repeats deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from pydantic import ValidationError

from api.aws import S3, UNAVAILABLE, Sqs
from api.errors import ApiError, InvalidRequestError, UnavailableError
from contract.deliveries import Delivery, Ledger, State, redeliver
from contract.identifiers import TaskRef
from contract.ledgers import Ledgers
from contract.record import Record, Submission
from contract.topology import string_attributes
from contract.webhook_secrets import Secrets
from contract.webhooks import Nudge, Webhook, reason_against

_SECONDS: Final = 12
"""For one request's calls to AWS."""

_FIELD: Final = "task.metadata.webhook"

_log = structlog.get_logger(__name__)


class Webhooks:
    """The webhooks of all tasks.

    Args:
        sqs: the client.
        s3: where ledgers are.
        bucket: the output bucket.
        queue: the name of the queue of webhooks.
        allowed_origins: receivers that need be neither https nor public.
        look_seconds: after which the deliverer looks at a task whose end it has not heard of.
    """

    def __init__(
        self, *, sqs: Sqs, s3: S3, bucket: str, queue: str, allowed_origins: frozenset[str], look_seconds: float
    ) -> None:
        self._sqs = sqs
        self._ledgers = Ledgers(s3, bucket)
        self._queue = queue
        self._allowed = allowed_origins
        self._look_seconds = look_seconds
        self._url = ""
        self.secrets = Secrets()

    def check(self, webhook: Webhook, tenant: str) -> None:
        """Refuses a webhook to which nothing could be delivered.

        Raises:
            InvalidRequestError: 400, with the reason.
        """
        if not self.secrets:
            raise InvalidRequestError(
                _FIELD, "is not taken: webhooks are not set up here (WEBHOOK_SECRETS); leave it out"
            )
        if not self.secrets.of(tenant):
            raise InvalidRequestError(
                _FIELD, "is not taken: no secret is set for this API key's tenant (WEBHOOK_SECRETS); leave it out"
            )
        reason = reason_against(webhook.url, self._allowed)
        if reason is not None:
            raise InvalidRequestError(f"{_FIELD}.url", reason)

    async def anchor(self, task: TaskRef, submission: str) -> None:
        """Sees to it that the deliverer looks at a submission in any case.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError, TimeoutError: SQS is out of reach.
        """
        await self._send(Nudge(task, submission, anchor=True), delay=int(self._look_seconds))

    async def deliveries(self, record: Record, submission: str | None) -> dict[str, Any]:
        """Returns the deliveries of a submission; of the newest one if none is named.

        Raises:
            ApiError: 404, there is no such submission, or it has no webhook.
            UnavailableError: S3 is out of reach.
        """
        found, webhook = _with_webhook(record, submission)
        async with _reached(record.ref, "the task's deliveries could not be read"):
            ledger = (await self._ledgers.read(record.ref, found.submission)).ledger
        return {
            "submission": found.submission,
            "url": webhook.shown,
            "events": webhook.events,
            "deliveries": [delivery_view(item) for item in ledger.deliveries],
        }

    async def redeliver(self, record: Record, submission: str | None, number: str) -> dict[str, Any]:
        """Has a delivery made once more, and returns it as it then stands.

        Raises:
            ApiError: 404, there is none.
            UnavailableError: AWS is out of reach.
        """
        found, _ = _with_webhook(record, submission)
        n = int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0

        def change(ledger: Ledger) -> Ledger:
            try:
                return redeliver(ledger, n, datetime.now(UTC))
            except LookupError as error:
                raise ApiError(404, "unknown_delivery", f"this submission has no delivery {number[:20]!r}") from error

        async with _reached(record.ref, "the delivery could not be ordered"):
            stored = await self._ledgers.read(record.ref, found.submission)
            ledger = await self._ledgers.change(stored, change)
            await self._send(Nudge(record.ref, found.submission))
        delivery = ledger.find(n)
        assert delivery is not None
        return delivery_view(delivery)

    async def _send(self, nudge: Nudge, *, delay: int = 0) -> None:
        if not self._url:
            self._url = (await self._sqs.get_queue_url(QueueName=self._queue))["QueueUrl"]
        await self._sqs.send_message(
            QueueUrl=self._url,
            MessageBody="nudge",
            DelaySeconds=delay,
            MessageAttributes=string_attributes(nudge.attributes()),
        )


@asynccontextmanager
async def _reached(task: TaskRef, failure: str) -> AsyncIterator[None]:
    """Makes a 503 of what AWS does not do, or not in time, and of a ledger that cannot be read."""
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except UNAVAILABLE as error:
        _log.warning("cannot reach the deliveries", task_id=task.id, error=repr(error))
        raise UnavailableError(f"{failure}; try again") from error
    except ValidationError as error:
        _log.exception("ledger unreadable", task_id=task.id)
        raise UnavailableError("the task's deliveries cannot be read") from error


def _with_webhook(record: Record, submission: str | None) -> tuple[Submission, Webhook]:
    found = record.current if submission is None else record.find(submission)
    if found is None:
        raise ApiError(404, "unknown_submission", "this task has no such submission, or keeps it no more")
    if found.webhook is None:
        raise ApiError(404, "no_webhook", "this submission names no webhook: it has no deliveries")
    return found, found.webhook


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """Returns a delivery as its task's owner sees it."""
    return {
        "n": delivery.n,
        "id": delivery.id,
        "type": f"task.{delivery.event}",
        "at": delivery.at,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_try": delivery.due if delivery.state is State.PENDING else None,
        "tries": [
            {"at": item.at, "seconds": item.seconds, "status": item.status, "error": item.error or None}
            for item in delivery.tries
        ],
    }

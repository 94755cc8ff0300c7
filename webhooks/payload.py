"""Makes the body of a delivery, and signs it as Standard Webhooks says, by its own library.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from standardwebhooks import Webhook as Signer

from contract.deliveries import Delivery
from contract.documents import encode
from contract.identifiers import TaskRef
from contract.links import Links
from contract.record import Submission
from contract.view import view_of
from webhooks.policy import as_it_was

MOST_IMAGES: Final = 100
"""Results that a body names; of more, it says how many there are, and `GET /v1/tasks/{id}` has all."""

USER_AGENT: Final = "darkroom-webhooks"


async def body_of(task: TaskRef, submission: Submission, delivery: Delivery, *, bucket: str, links: Links) -> bytes:
    """Returns `{"type", "timestamp", "data"}`; the data is what `GET /v1/tasks/{id}` answered at that time.

    The links are made anew for each attempt, since they end.
    """
    then = as_it_was(delivery, submission)
    images = len(then.image_url)
    if images > MOST_IMAGES:
        then = then.model_copy(update={"image_url": then.image_url[:MOST_IMAGES]})
    data: dict[str, Any] = await view_of(task, then, bucket=bucket, links=links)
    if images > MOST_IMAGES:
        data |= {"truncated": ["images"], "image_count": images}
    return encode({"type": f"task.{delivery.event}", "timestamp": delivery.at, "data": data})


def headers_of(body: bytes, delivery: Delivery, *, secrets: Sequence[str], now: datetime) -> Mapping[str, str]:
    """Returns the headers of an attempt, with one signature by each secret.

    Args:
        body: what is signed.
        delivery: its id is the event's, the same at each attempt.
        secrets: one or more.
        now: in UTC; receivers refuse what is older than some minutes.
    """
    signatures = [Signer(secret).sign(delivery.id, now, body.decode()) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": delivery.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }

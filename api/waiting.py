"""Waits for a task within the request that submits it, as `Prefer: wait` is meant (RFC 7240, section 4.3)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from api.errors import ApiError, InvalidRequestError
from api.events import FIRST_POLL_SECONDS, next_poll
from api.tasks import Tasks
from api.unsettled import Ticket
from contract.record import Record

WAIT: Final = "wait"
"""The query parameter."""

LONGEST: Final = 60.0
"""Seconds; proxies hang up after as many (an Application Load Balancer by default)."""


def parse_wait(text: str | None) -> float:
    """Returns the seconds that a request may wait; 0 where it does not say.

    Raises:
        InvalidRequestError: it is no number from 0 to 60.
    """
    if text is None:
        return 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST:
        raise InvalidRequestError(WAIT, f"must be a number of seconds from 0 to {LONGEST:g}; found {text[:40]!r}")
    return seconds


async def wait_for_end(
    tasks: Tasks, ticket: Ticket, seconds: float, *, stopping: asyncio.Event, gone: Callable[[], Awaitable[bool]]
) -> Record | None:
    """Returns a task's record with this very submission as its current one, once it has ended.

    Args:
        tasks: reads the record again and again.
        ticket: of the submission.
        seconds: after which it is no longer waited for.
        stopping: set when the server is about to end.
        gone: tells whether the client has left; what it has submitted goes on.

    Returns:
        None: it has not ended by then, as far as can be told.
    """
    interval = FIRST_POLL_SECONDS
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        try:
            record = await tasks.read(ticket.task)
        except ApiError:
            # It is accepted: that S3 is out of reach for a moment must not turn it into an error.
            record = None
        found = record.find(ticket.submission) if record else None
        if record and found and found.status.terminal:
            return record.model_copy(update={"current": found})
        left = end - loop.time()
        if left <= 0 or stopping.is_set() or await gone():
            return None
        interval = next_poll(interval, changed=False)
        try:
            async with asyncio.timeout(min(interval, left)):
                await stopping.wait()
        except TimeoutError:
            continue

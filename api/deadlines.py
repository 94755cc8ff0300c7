"""Reads `metadata.start_by`: by when a task is to begin."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from api.errors import InvalidRequestError
from contract.topology import EXPIRY

FIELD: Final = "task.metadata.start_by"

SCHEMA: Final[dict[str, Any]] = {
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "number", "exclusiveMinimum": 0, "maximum": EXPIRY},
        {"type": "null"},
    ]
}
"""What may be sent, as JSON Schema."""

_FORM: Final = f"must be a time such as 2026-12-01T08:30:00Z, or seconds from now, more than 0 and at most {EXPIRY}"


def parse_start_by(value: object) -> datetime | float | None:
    """Returns a time, or seconds from the moment at which a task is accepted.

    Raises:
        ValueError: it is neither.
    """
    if value is None or (isinstance(value, datetime) and value.tzinfo is not None):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 < value <= EXPIRY and math.isfinite(value):
            return float(value)
        raise ValueError(_FORM)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError as error:
        raise ValueError(_FORM) from error
    if moment is None:
        raise ValueError(_FORM)
    if moment.tzinfo is None:
        raise ValueError("must name its time zone: 2026-12-01T08:30:00Z, or +01:00 instead of Z")
    return moment


def resolve(start_by: datetime | float | None, submitted_at: datetime) -> datetime | None:
    """Returns the time by which a task is to begin, in whole milliseconds; None: any.

    Args:
        start_by: a time, or seconds from its submission.
        submitted_at: when that was.
    """
    if start_by is None:
        return None
    moment = start_by if isinstance(start_by, datetime) else submitted_at + timedelta(seconds=start_by)
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def reason_to_refuse(start_by: datetime | float | None, now: datetime) -> InvalidRequestError | None:
    """Returns the 400 for a new task that cannot begin in time, or None. One that was accepted before is not asked."""
    if not isinstance(start_by, datetime):
        return None
    if start_by <= now:
        return InvalidRequestError(FIELD, f"has passed: it is {now.isoformat(timespec='seconds')} by the API's clock")
    if start_by > now + timedelta(seconds=EXPIRY):
        return InvalidRequestError(FIELD, f"is more than {EXPIRY} seconds from now, and AWS keeps no task for so long")
    return None

"""What a call raises instead of an answer."""

from __future__ import annotations

from typing import Any, Final

import httpx

_NOT_NOW: Final = frozenset({429, 502, 503, 504})


class DarkroomError(Exception):
    """The API, or S3, did not do what was asked; the text is a sentence."""


class NotReachableError(DarkroomError):
    """Nothing answers, or not now: the same call may succeed later.

    Args:
        message: a sentence.
        status: HTTP's, where something has answered; 0: nothing has.
        retry_after: seconds that the API wants to be left alone; None: it does not say.
        details: as the API gives them. Those of a submission hold its `id` and its `fate`: with `not_accepted` it will
            not run, with `unknown` it may; send it again with the same id.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.details = details


class RefusedError(DarkroomError):
    """The API refuses a request; the text is its own.

    Args:
        message: a sentence.
        status: HTTP's; 0: the request was not sent.
        code: stable, for programs, such as `unknown_task`; empty: whoever answered is not the API.
        details: as the API gives them.
    """

    def __init__(self, message: str, *, status: int = 0, code: str = "", details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details


def unreachable(url: str, error: httpx.TransportError) -> NotReachableError:
    """Returns the error for an API that does not answer."""
    return NotReachableError(f"no API answers at {url} ({error})")


def checked(answer: httpx.Response, url: str) -> Any:
    """Returns the JSON of an answer whose body was read.

    Raises:
        NotReachableError, RefusedError: it is none, or no success.
    """
    try:
        body = answer.json() if answer.content else None
    except ValueError:
        raise NotReachableError(
            f"what answers at {url} is not the API: status {answer.status_code}, no JSON", status=answer.status_code
        ) from None
    if answer.is_success:
        return body
    # API Gateway's own refusals have the message alone.
    error = body.get("error", body) if isinstance(body, dict) else {}
    error = error if isinstance(error, dict) else {}
    text = error.get("message") or f"what answers at {url} is not the API, or not it alone: status {answer.status_code}"
    details = error.get("details")
    if answer.status_code in _NOT_NOW:
        again = answer.headers.get("retry-after", "")
        raise NotReachableError(
            f"the API cannot take it now: {text}" + (f" (try in {again} s)" if again else ""),
            status=answer.status_code,
            retry_after=float(again) if again.isdecimal() else None,
            details=details,
        )
    raise RefusedError(text, status=answer.status_code, code=str(error.get("code", "")), details=details)

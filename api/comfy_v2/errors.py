"""The errors of `/v1` in v2's words: the same shape, other codes, and details that are always an object or null.

Codes and statuses are those of `ErrorEnvelope` in `comfy-sdk` 0.5.0 (`comfy_low/models/_generated.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.errors import ApiError

Endpoint = Callable[[Request], Awaitable[Response]]

_NAMED: Final[Mapping[str, tuple[int, str]]] = {
    "unknown_task": (404, "not_found"),
    "request_not_kept": (404, "not_found"),
    "idempotency_conflict": (422, "idempotency_key_reuse"),
    "body_too_large": (413, "payload_too_large"),
    # SDKs ask again after Retry-After where the status is 429, and nowhere else.
    "too_many_streams": (429, "too_many_streams"),
}


def spoken(error: ApiError) -> ApiError:
    """Returns an error as v2 has it."""
    status, code = _NAMED.get(error.code, (error.status, error.code))
    details = error.details
    if details is not None and not isinstance(details, dict):
        details = {"fields": details}
    return ApiError(status, code, error.message, details=details, headers=error.headers)


def speaking(endpoint: Endpoint) -> Endpoint:
    """Returns a route whose errors are v2's."""

    @wraps(endpoint)
    async def spoken_endpoint(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ApiError as error:
            raise spoken(error) from error

    return spoken_endpoint


def not_found(what: str, **details: Any) -> ApiError:
    """Returns the 404 for what the caller does not have, whether anybody else has it or not."""
    return ApiError(404, "not_found", what, details=details or None)


def unprocessable(code: str, message: str, **details: Any) -> ApiError:
    """Returns a 422."""
    return ApiError(422, code, message, details=details or None)

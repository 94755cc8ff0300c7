"""The one shape of every error answer: `{"error": {"code", "message", "details"}}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from api.answers import json_answer

RETRY_AFTER_SECONDS: Final = 2
"""How long a client is told to wait when AWS is out of reach."""


class ApiError(Exception):
    """An answer other than success: HTTP status, stable code for programs, sentence for people."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.headers = dict(headers or {})

    def answer(self) -> Response:
        """Returns the error as an HTTP answer."""
        body = {"error": {"code": self.code, "message": self.message, "details": self.details}}
        return json_answer(body, status=self.status, headers=self.headers)


class InvalidRequestError(ApiError):
    """400: the request's content is wrong; `field` names the place in the document."""

    def __init__(self, field: str, message: str, **more: Any) -> None:
        super().__init__(
            400,
            "invalid_request",
            f"{field}: {message}",
            details=[{"field": field, "message": message, **more}],
        )


class UnavailableError(ApiError):
    """503: something the API stands on is out of reach; trying again later may help."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "unavailable",
        details: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        headers = {"retry-after": str(RETRY_AFTER_SECONDS), **(headers or {})}
        super().__init__(503, code, message, details=details, headers=headers)


def unknown_task(task_id: str) -> ApiError:
    """Returns the 404 for a task that has no record."""
    shown = task_id if len(task_id) <= 80 else f"{task_id[:77]}…"
    return ApiError(404, "unknown_task", f"there is no task {shown!r}", details={"id": shown})

"""The error bodies of SD Web UI: its own exception shape, and FastAPI's."""

from collections.abc import Iterable

from aiohttp import web

from fake_runtime.encoding import json_response


class WebUiError(Exception):
    """An error in the shape of SD Web UI's exception handler: ``{"error", "detail", "body", "errors"}``.

    Attributes:
        status: of the HTTP answer.
        error: the name of the Python exception.
        detail: what an HTTPException says; empty for others.
        errors: the text of other exceptions; empty for an HTTPException (on starlette 0.26).
    """

    def __init__(self, status: int, *, error: str = "HTTPException", detail: str = "", errors: str = "") -> None:
        super().__init__(detail or errors)
        self.status = status
        self.error = error
        self.detail = detail
        self.errors = errors

    def response(self) -> web.Response:
        """The answer to send."""
        body = {"error": self.error, "detail": self.detail, "body": "", "errors": self.errors}
        return json_response(body, self.status)


class RequestValidationError(Exception):
    """A body of the wrong shape: FastAPI's 422 with pydantic 1's details."""

    def __init__(self, details: list[dict[str, object]]) -> None:
        super().__init__(details)
        self.details = details

    def response(self) -> web.Response:
        """The answer to send."""
        return json_response({"detail": self.details}, 422)


class FaultAnswerError(Exception):
    """An ordered error that is answered as it was ordered."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


def not_found() -> web.Response:
    """FastAPI's answer to an unknown route."""
    return json_response({"detail": "Not Found"}, 404)


def not_allowed(methods: Iterable[str]) -> web.Response:
    """FastAPI's answer to a wrong method."""
    answer = json_response({"detail": "Method Not Allowed"}, 405)
    answer.headers["Allow"] = ", ".join(sorted(methods))
    return answer


INVALID_IMAGE = "Invalid encoded image"

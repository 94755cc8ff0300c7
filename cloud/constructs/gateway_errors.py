"""What API Gateway itself answers instead of the API, in the API's one shape of errors."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from aws_cdk import aws_apigateway as apigateway


@dataclass(frozen=True)
class GatewayError:
    """One of the gateway's answers."""

    kind: apigateway.ResponseType
    status: int
    code: str
    message: str
    retry_after: int | None = None
    """Seconds after which a client may try again."""

    @property
    def body(self) -> str:
        """The answer as JSON; the same as `api/errors.py` makes."""
        return json.dumps({"error": {"code": self.code, "message": self.message, "details": None}})


ERRORS: Final = (
    # 003 promises 401; the gateway would say 403.
    GatewayError(
        apigateway.ResponseType.INVALID_API_KEY, 401, "unauthorized", "the header x-api-key is missing or wrong"
    ),
    GatewayError(
        apigateway.ResponseType.THROTTLED, 429, "throttled", "too many requests with this API key", retry_after=1
    ),
    GatewayError(
        apigateway.ResponseType.REQUEST_TOO_LARGE,
        413,
        "too_large",
        "the body is larger than 10 MiB; give links instead",
    ),
    GatewayError(
        apigateway.ResponseType.INTEGRATION_FAILURE, 503, "unavailable", "the API cannot be reached", retry_after=2
    ),
    GatewayError(
        apigateway.ResponseType.INTEGRATION_TIMEOUT, 503, "unavailable", "the API did not answer in time", retry_after=2
    ),
)


def add_errors(api: apigateway.RestApi, *, readable_by_pages: bool) -> None:
    """Gives an API these answers.

    Args:
        api: whose gateway answers so.
        readable_by_pages: whether browsers may show them to pages, of any origin: nothing of a task is in them.
    """
    for error in ERRORS:
        headers = {} if error.retry_after is None else {"Retry-After": f"'{error.retry_after}'"}
        if readable_by_pages:
            headers |= {"Access-Control-Allow-Origin": "'*'", "Access-Control-Expose-Headers": "'Retry-After'"}
        api.add_gateway_response(
            error.kind.response_type,
            type=error.kind,
            status_code=str(error.status),
            response_headers=headers,
            templates={"application/json": error.body},
        )

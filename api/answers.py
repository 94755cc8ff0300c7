"""JSON answers, encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response

from contract.documents import encode

JSON: Final = "application/json"


def json_answer(body: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Returns a JSON answer; times come out as RFC 3339 in UTC with a `Z`."""
    return Response(
        encode(body),
        status_code=status,
        headers=headers,
        media_type=JSON,
    )

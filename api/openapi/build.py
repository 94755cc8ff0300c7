"""The parts that operations are built of, and what each of them may answer."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from api import schemas

_FAULTS: Final = {
    400: "Malformed or invalid; the message names the field.",
    401: "No API key, or one that is not known.",
    403: "Only an admin's API key may name a tenant; or a page of an origin that is not allowed has sent it.",
    404: "There is no such task, or runtime.",
    405: "This path does not have this method.",
    408: "The body was too slow in coming.",
    409: "A conflict with how things stand.",
    413: "The body is too large.",
    415: "The body is not declared as JSON.",
    429: "Too many requests with this key.",
    500: "A fault of ours; the log has it under the id in the answer.",
    503: "AWS is out of reach, or this server is stopping or busy.",
}
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}


class Build:
    """Builds operations and answers.

    Args:
        schema_of: the reference to each model's schema.
        keys_needed: whether an API key is required.
        sample_image: the picture of the examples; empty: the reference documents' own.
    """

    def __init__(self, schema_of: dict[Any, Any], *, keys_needed: bool, sample_image: str) -> None:
        self.sample_image = sample_image
        self.schema_of = schema_of
        self._keys_needed = keys_needed

    def operation(
        self,
        name: str,
        summary: str,
        answers: dict[int, Any],
        *faults: int,
        tag: str,
        description: str = "",
        body: dict[str, Any] | None = None,
        parameters: list[dict[str, Any]] | None = None,
        guarded: bool = True,
    ) -> dict[str, Any]:
        """Returns one operation; what every guarded one may answer is added."""
        every = {*faults, 500, *((401, 429) if guarded else ())}
        responses = {str(status): answer for status, answer in answers.items()}
        responses |= {str(status): self._fault(status) for status in sorted(every)}
        operation: dict[str, Any] = {"operationId": name, "tags": [tag], "summary": summary, "responses": responses}
        if description:
            operation["description"] = description
        if parameters:
            operation["parameters"] = parameters
        if body:
            operation["requestBody"] = body
        if guarded and self._keys_needed:
            operation["security"] = [{"key": []}]
        return operation

    def json(self, description: str, model: type[BaseModel], **more: Any) -> dict[str, Any]:
        """Returns a JSON answer."""
        return {
            "description": description,
            "content": {"application/json": {"schema": self.schema_of[model]}},
            **more,
        }

    def _fault(self, status: int) -> dict[str, Any]:
        headers = {"headers": _RETRY_AFTER} if status in {429, 503} else {}
        return self.json(_FAULTS[status], schemas.Error, **headers)


def text(description: str, media_type: str) -> dict[str, Any]:
    """Returns an answer that is text of one media type."""
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}

"""Reads the JSON that a runtime answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.documents import decode_json
from agent.errors import TaskError, TransientError
from agent.runtimes.allowance import check_values
from agent.runtimes.http import Reply


@dataclass(frozen=True)
class Answers:
    """How one type of runtime answers."""

    title: str
    """What messages call it."""
    failure_of: Callable[[int, bytes], TaskError]
    """What a status and the body that came with it mean."""

    async def document(self, reply: Reply, what: str, *, status: int = 200) -> Any:
        """Returns the JSON of an answer.

        Args:
            reply: the answer.
            what: what was asked, for messages.
            status: the one of success.

        Raises:
            TaskError: the status is another, or the JSON is too large.
            TransientError: it is no JSON.
        """
        if reply.status != status:
            raise self.failure_of(reply.status, reply.body)
        check_values(reply.body, self.title)
        try:
            return await decode_json(reply.body)
        except ValueError as error:
            raise self.garbage(what) from error

    async def mapping(self, reply: Reply, what: str, *, status: int = 200) -> dict[str, Any]:
        """Returns the JSON object of an answer; see `document`."""
        document = await self.document(reply, what, status=status)
        if not isinstance(document, dict):
            raise self.garbage(what)
        return document

    async def mappings(self, reply: Reply, what: str) -> list[dict[str, Any]]:
        """Returns the list of JSON objects of an answer; see `document`."""
        documents = await self.document(reply, what)
        if not isinstance(documents, list) or not all(isinstance(item, dict) for item in documents):
            raise self.garbage(what)
        return documents

    def garbage(self, what: str) -> TransientError:
        """Returns the error of an answer that cannot be read."""
        return TransientError("garbage_answer", f"{self.title} answered {what} with something that makes no sense")

"""Remembers submissions that were answered 503 while AWS could not tell what had become of them.

Such a submission may have been put into the record, and its message may have arrived. When the same request comes
again, the write of its record also withdraws the earlier one, or finds that it runs already; otherwise the earlier one
is withdrawn as soon as AWS is back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from api.digest import digest
from api.requests import TaskRequest
from contract.identifiers import TaskRef

_MOST: Final = 10_000
"""Submissions that are remembered, the newest: minutes of an outage at the default throttle."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What is decided about a request before anything is written; writing it twice changes nothing."""

    task: TaskRef
    submission: str
    submitted_at: datetime

    @property
    def task_id(self) -> str:
        """The id of the task within its tenant."""
        return self.task.id


class Unsettled:
    """The tickets whose fate is not known, the oldest first, each with the digest of its request."""

    def __init__(self) -> None:
        self._noted: OrderedDict[Ticket, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, request: TaskRequest, ticket: Ticket) -> None:
        """Remembers the ticket of a request that is answered 503."""
        self.put_back(ticket, _digest(request, ticket.task))

    def take(self, request: TaskRequest, task: TaskRef) -> list[Ticket]:
        """Returns the tickets of the same request's earlier sendings; they are the caller's now."""
        if not self._noted:
            return []
        wanted = _digest(request, task)
        found = [ticket for ticket, of in self._noted.items() if of == wanted]
        for ticket in found:
            del self._noted[ticket]
        return found

    def take_oldest(self) -> tuple[Ticket, str] | None:
        """Returns the oldest ticket and the digest of its request; None when there is none."""
        return self._noted.popitem(last=False) if self._noted else None

    def put_back(self, ticket: Ticket, of: str) -> None:
        """Remembers a ticket whose fate is still not known."""
        self._noted[ticket] = of
        if len(self._noted) > _MOST:
            self._noted.popitem(last=False)


def _digest(request: TaskRequest, task: TaskRef) -> str:
    return digest(
        [
            task.tenant,
            task.id,
            request.runtime.name,
            request.task_type,
            request.prefix,
            request.context,
            request.webhook and request.webhook.model_dump(mode="json"),
            dict(request.tags),
            request.content,
            str(request.start_by) if request.start_by is not None else None,
            request.environment,
            request.inputs and request.inputs.model_dump(mode="json"),
        ]
    )

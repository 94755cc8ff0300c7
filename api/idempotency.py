"""Makes `POST /v1/tasks` with an `Idempotency-Key` happen once, however often it is sent.

A note in S3 holds what was decided about the first request (its ticket) and a digest of it. It is written before
anything else and only if there is none (put first, as in Powertools for AWS Lambda), so that of two requests at once
only one decides, and a request that died half-way is completed by its repetition with the same submission.

Sendings of one request may overlap, since a client gives up sooner than SNS does: the one that has published says so in
the note, the one that could not says there that the submission is withdrawn, and whoever is first is believed by all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict

from api.auth import Caller
from api.aws import AWS_ERRORS, Aws
from api.deadlines import reason_to_refuse
from api.digest import digest
from api.errors import ApiError, InvalidRequestError, UnavailableError
from api.requests import TaskRequest
from api.submit import Acceptance, Accepted, Fate, NotAcceptedError, new_ticket
from api.unsettled import Ticket
from contract.identifiers import TaskRef, Tenant
from contract.objects import idempotency_key
from contract.store import read_document, write_document

MAX_KEY_LENGTH: Final = 255

_TRIES: Final = 5

_log = structlog.get_logger(__name__)


class Note(BaseModel):
    """What is remembered about one key."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    request: str
    """SHA-256 of the request."""
    task_id: str
    tenant: Tenant = ""
    submission: str
    submitted_at: datetime
    published: bool = False
    withdrawn: bool = False
    """It could not be published: it is ended in the record, unless it runs after all."""

    @property
    def ticket(self) -> Ticket:
        """What was decided."""
        return Ticket(TaskRef(self.task_id, self.tenant), self.submission, self.submitted_at)


@dataclass(frozen=True, slots=True)
class _Stored:
    note: Note
    etag: str


def check_key(key: str) -> str:
    """Returns an `Idempotency-Key` unchanged.

    Raises:
        ApiError: 400; it is empty, longer than 255 characters, or not printable ASCII.
    """
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise InvalidRequestError("Idempotency-Key", f"must be 1 to {MAX_KEY_LENGTH} printable ASCII characters")
    return key


class Idempotency:
    """Accepts requests that carry a key."""

    def __init__(self, *, aws: Aws, acceptance: Acceptance, bucket: str) -> None:
        self._s3 = aws.s3
        self._acceptance = acceptance
        self._bucket = bucket

    async def accept(
        self, caller: Caller, key: str, request: TaskRequest, document: Any, *, trace: str, anew: bool = False
    ) -> Accepted:
        """Accepts a request, or returns the answer that its first sending deserved.

        Raises:
            ApiError: 409, the key was used for another request.
            InvalidRequestError: 400, the time by which it is to begin has passed, and it was not accepted before.
            UnavailableError: AWS is out of reach.
        """
        place = idempotency_key(caller.tenant, caller.name, key)
        wanted = digest(document)
        stored = await self._claim(place, wanted, request, caller.tenant)
        if stored.note.request != wanted:
            raise ApiError(
                409, "idempotency_conflict", "this Idempotency-Key was used for another request; use a new one"
            )
        ticket = stored.note.ticket
        if stored.note.published:
            return self._acceptance.accepted(request, ticket)
        accepted = await self._acceptance.accept(
            request, ticket, trace=trace, anew=anew, withdraw=lambda: self._withdraw(place, stored)
        )
        fate = await self._fate(place, stored, published=True)
        if fate is not None:
            raise NotAcceptedError(ticket.task_id, fate)
        return accepted

    async def _withdraw(self, place: str, stored: _Stored) -> Fate | None:
        return await self._fate(place, stored, published=False)

    async def _fate(self, place: str, stored: _Stored, *, published: bool) -> Fate | None:
        """Notes what has come of publishing, and returns what it means beside other sendings; None: it is accepted."""
        ours = stored.note.model_copy(update={"published": published, "withdrawn": not published})
        try:
            decided = await self._put(place, ours, replaced=stored.etag) or await self._read(place)
        except AWS_ERRORS as error:
            _log.warning("cannot note what became of the task", task_id=ours.task_id, error=repr(error))
            return Fate.UNKNOWN
        if decided is not None and decided.note.published and decided.note.submission == ours.submission:
            return None
        return await self._acceptance.withdraw(ours.ticket)

    async def _claim(self, place: str, wanted: str, request: TaskRequest, tenant: str) -> _Stored:
        """Returns the note that counts: ours if there was none, or if the one there led to nothing."""
        try:
            for _ in range(_TRIES):
                ticket = new_ticket(request, tenant)
                ours = Note(
                    request=wanted,
                    task_id=ticket.task_id,
                    tenant=tenant,
                    submission=ticket.submission,
                    submitted_at=ticket.submitted_at,
                )
                too_late = reason_to_refuse(request.start_by, ticket.submitted_at)
                if too_late is None and (won := await self._put(place, ours)):
                    return won
                theirs = await self._read(place)
                if theirs is not None and (theirs.note.request != wanted or not await self._was_refused(theirs.note)):
                    return theirs
                if too_late is not None:
                    raise too_late
                if theirs is None:
                    continue
                # The first sending was answered with 503, and that submission has ended: begin anew, with the same id.
                again = ours.model_copy(update={"task_id": theirs.note.task_id})
                if won := await self._put(place, again, replaced=theirs.etag):
                    return won
        except AWS_ERRORS as error:
            raise UnavailableError("the Idempotency-Key could not be noted; try again") from error
        raise UnavailableError("too many requests with this Idempotency-Key at once; try again")

    async def _was_refused(self, note: Note) -> bool:
        if not note.withdrawn:
            return False
        fate = await self._acceptance.withdraw(note.ticket)
        if fate is Fate.UNKNOWN:
            raise NotAcceptedError(note.task_id, fate)
        return fate is Fate.NOT_ACCEPTED

    async def _read(self, place: str) -> _Stored | None:
        found = await read_document(self._s3, self._bucket, place)
        return _Stored(Note.model_validate_json(found[0]), found[1]) if found is not None else None

    async def _put(self, place: str, note: Note, *, replaced: str = "") -> _Stored | None:
        won = await write_document(self._s3, self._bucket, place, note, replaced=replaced)
        return _Stored(note, won) if won is not None else None

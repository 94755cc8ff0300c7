"""Reads ledgers of webhooks, and replaces them by conditional writes.

It lies in `contract` because API and deliverer must not each have an idea of their own of how a ledger is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contract.deliveries import Ledger
from contract.identifiers import TaskRef
from contract.objects import ledger_key
from contract.store import ContendedRecordError, S3Client, read_document, write_document

_TRIES: Final = 12


@dataclass(frozen=True, slots=True)
class StoredLedger:
    """A ledger as it lies in S3."""

    ledger: Ledger
    etag: str
    """That the next write must match; empty: it has not been written yet."""


class Ledgers:
    """The ledgers of one output bucket.

    Each call raises botocore's BotoCoreError or ClientError where S3 is out of reach or refuses.

    Args:
        s3: the client.
        bucket: the output bucket.
    """

    def __init__(self, s3: S3Client, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    async def read(self, task: TaskRef, submission: str) -> StoredLedger:
        """Returns a submission's ledger; an empty one where there is none yet.

        Raises:
            pydantic.ValidationError: the stored document is no ledger.
        """
        found = await read_document(self._s3, self._bucket, ledger_key(task, submission))
        if found is None:
            return StoredLedger(Ledger(id=task.id, tenant=task.tenant, submission=submission), "")
        return StoredLedger(Ledger.model_validate_json(found[0]), found[1])

    async def replace(self, stored: StoredLedger, changed: Ledger) -> StoredLedger | None:
        """Writes a ledger if nobody was faster; returns None when somebody was."""
        key = ledger_key(changed.ref, changed.submission)
        etag = await write_document(self._s3, self._bucket, key, changed, replaced=stored.etag)
        return StoredLedger(changed, etag) if etag is not None else None

    async def change(self, stored: StoredLedger, change: Callable[[Ledger], Ledger]) -> Ledger:
        """Applies a change until it wins, and returns the ledger as it then stands.

        Args:
            stored: as read before.
            change: a pure function; it is asked again with the newer ledger whenever another writer was faster.

        Raises:
            ContendedRecordError: others won too many times in a row.
            pydantic.ValidationError: as `read`.
        """
        for _ in range(_TRIES):
            changed = change(stored.ledger)
            if changed == stored.ledger or await self.replace(stored, changed) is not None:
                return changed
            stored = await self.read(stored.ledger.ref, stored.ledger.submission)
        raise ContendedRecordError(f"the ledger of task {stored.ledger.ref} was changed too often meanwhile")

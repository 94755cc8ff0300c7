"""Tells which tasks of a tenant are new, whichever process of this API has accepted them: by the list's log."""

from __future__ import annotations

from typing import Final

from contract.store import S3Client
from contract.task_log import SUBMITTED, Entry, Segment, TaskLog

BACK: Final = 4
"""Sealed segments that are read at the beginning, some 130 tasks each."""


class Discovery:
    """What is submitted for one tenant.

    Args:
        s3: the client.
        bucket: the output bucket.
        tenant: whose tasks; empty: the shared space.
    """

    def __init__(self, s3: S3Client, bucket: str, tenant: str) -> None:
        self._log = TaskLog(s3, bucket, tenant, SUBMITTED)
        self._head: Segment | None = None

    async def new(self) -> list[Entry]:
        """Returns what was listed since the last call, the oldest first; at the first one, the newest few hundred.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 is out of reach; the next call returns the same and more.
        """
        head, known = await self._log.head(), self._head
        first = max(0, head.seq - BACK) if known is None else known.seq
        segments = list[Segment]()
        for seq in range(head.seq - 1, max(first, head.seq - BACK) - 1, -1):
            sealed = await self._log.segment(seq)
            if sealed is None:
                break  # it has expired, and so have all that are older
            segments.append(sealed)
        seen = frozenset(known.lines if known is not None else ())
        self._head = head
        return [
            entry
            for segment in [*reversed(segments), head]
            for line, entry in zip(segment.lines, segment.entries(), strict=True)
            if line not in seen
        ]

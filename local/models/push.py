"""Puts files into the model bucket: skips what is there, goes on with what was interrupted, sends parts in parallel."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from local.models.bucket import BucketError, ModelBucket, Unfinished
from local.models.parts import Part, SentPart, checksum, checksum_of_file, cut, fits, read_part
from local.models.progress import Progress, StoppedError, ended


class Outcome(StrEnum):
    """What became of a file."""

    SENT = "sent"
    RESUMED = "sent, going on with an interrupted upload"
    UNCHANGED = "is there already"


class DifferentError(Exception):
    """Another file lies under that key; the text names it and the way out."""


@dataclass(frozen=True)
class Push:
    """A file and the key that it goes to."""

    path: Path
    key: str
    size: int


class Pusher:
    """Sends files to one bucket."""

    def __init__(self, bucket: ModelBucket, progress: Progress, *, jobs: int, replace: bool) -> None:
        """Makes it ready.

        Args:
            bucket: that gets the files.
            progress: is told how far it is.
            jobs: files, and parts of files, that are under way at once.
            replace: whether another file under the same key may be replaced.
        """
        self._bucket = bucket
        self._progress = progress
        self._jobs = jobs
        self._replace = replace
        self._stop = threading.Event()

    def push(self, files: list[Push]) -> Generator[tuple[Push, Outcome | Exception]]:
        """Yields each file when it is done, with what became of it: a fault of one does not keep the others.

        An exception that comes meanwhile, such as Ctrl-C's, stops it, as closing it does: parts under way are ended, no
        more are begun.
        """
        with (
            ThreadPoolExecutor(self._jobs, thread_name_prefix="part") as parts,
            ThreadPoolExecutor(self._jobs, thread_name_prefix="file") as pool,
        ):
            futures = {pool.submit(self._push, file, parts): file for file in files}
            try:
                for done in as_completed(futures):
                    fault = done.exception()
                    if fault is not None and not isinstance(fault, (BucketError, DifferentError, OSError)):
                        raise fault
                    yield futures[done], fault if isinstance(fault, Exception) else done.result()
            finally:
                self._stop.set()
                for future in futures:
                    future.cancel()

    def _push(self, file: Push, pool: ThreadPoolExecutor) -> Outcome:
        with ended(self._progress, file.key):
            stored = self._bucket.model(file.key)
            if stored is not None:
                if stored.size == file.size and stored.checksum == self._checksum(file):
                    return Outcome.UNCHANGED
                if not self._replace:
                    why = "other content" if stored.checksum else "a file without a checksum to compare"
                    raise DifferentError(
                        f"{file.path}: the bucket has {why} at {file.key}; say --replace to put this one in its place"
                    )
            return self._send(file, pool)

    def _checksum(self, file: Push) -> str:
        def advance(count: int) -> None:
            self._must_go_on()
            self._progress.advance(file.key, count)

        self._progress.begin(file.key, "comparing", file.size)
        return checksum_of_file(file.path, file.size, advance)

    def _send(self, file: Push, pool: ThreadPoolExecutor) -> Outcome:
        parts = cut(file.size)
        before = file.path.stat().st_mtime_ns
        self._progress.begin(file.key, "sending", file.size)
        if len(parts) == 1:
            self._must_go_on()
            data = read_part(file.path, parts[0])
            self._bucket.put(file.key, data, checksum(data), replace=self._replace)
            self._progress.advance(file.key, file.size)
            return Outcome.SENT
        upload_id, there = self._upload_for(file, parts)
        pending = [pool.submit(self._send_part, file, upload_id, part, there.get(part.number)) for part in parts]
        sent = _all_of(pending)
        if (file.path.stat().st_mtime_ns, file.path.stat().st_size) != (before, file.size):
            raise OSError(f"{file.path}: has changed while it was sent; send it again")
        self._bucket.complete(file.key, upload_id, sent, replace=self._replace)
        return Outcome.RESUMED if there else Outcome.SENT

    def _upload_for(self, file: Push, parts: list[Part]) -> tuple[str, dict[int, SentPart]]:
        """Returns the upload to go on with and its parts, or a new one. What cannot be gone on with is thrown away."""
        found: tuple[Unfinished, dict[int, SentPart]] | None = None
        for upload in self._bucket.unfinished(file.key):
            if upload.key != file.key:
                continue
            sent = self._bucket.sent_parts(upload)
            if found is None and fits(parts, sent):
                found = upload, sent
            else:
                self._bucket.abort(upload)
        if found is None:
            return self._bucket.begin(file.key), {}
        return found[0].upload_id, found[1]

    def _send_part(self, file: Push, upload_id: str, part: Part, there: SentPart | None) -> SentPart:
        self._must_go_on()
        data = read_part(file.path, part)
        digest = checksum(data)
        sent = there
        if sent is None or sent.checksum != digest:
            sent = self._bucket.send(file.key, upload_id, part.number, data, digest)
        self._progress.advance(file.key, part.length)
        return sent

    def _must_go_on(self) -> None:
        if self._stop.is_set():
            raise StoppedError


def _all_of(pending: list[Future[SentPart]]) -> list[SentPart]:
    """Returns the results in order; after a fault the rest is not begun."""
    try:
        return [future.result() for future in pending]
    finally:
        for future in pending:
            future.cancel()

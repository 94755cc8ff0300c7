"""Brings the model bucket into a folder: skips what is there, goes on with what was interrupted, checks what came."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from local.models.bucket import BucketError, ModelBucket, StoredModel
from local.models.parts import checksum_of_file
from local.models.progress import Progress, StoppedError, ended

_CHUNK: Final = 2**20


class Outcome(StrEnum):
    """What became of a model."""

    FETCHED = "fetched"
    UNCHANGED = "is there already"


class DamagedError(Exception):
    """What came is not what was uploaded; the text names it."""


@dataclass(frozen=True)
class Puller:
    """Fetches models of one bucket into one folder."""

    bucket: ModelBucket
    folder: Path
    progress: Progress
    jobs: int
    """Files that are under way at once."""

    def is_there(self, model: StoredModel) -> bool:
        """Whether the folder has a model: the same size, and the time of the bucket's object, which `pull` sets."""
        try:
            found = (self.folder / model.key).stat()
        except FileNotFoundError:
            return False
        return found.st_size == model.size and int(found.st_mtime) == int(model.modified.timestamp())

    def pull(self, models: list[StoredModel]) -> Generator[tuple[StoredModel, Outcome | Exception]]:
        """Yields each model when it is done, with what became of it: a fault of one does not keep the others.

        An exception that comes meanwhile, such as Ctrl-C's, stops it, as closing it does.
        """
        stop = threading.Event()
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="model") as pool:
            futures = {pool.submit(self._pull, model, stop): model for model in models}
            try:
                for done in as_completed(futures):
                    fault = done.exception()
                    if fault is not None and not isinstance(fault, (BucketError, DamagedError, OSError)):
                        raise fault
                    yield futures[done], fault if isinstance(fault, Exception) else done.result()
            finally:
                stop.set()
                for future in futures:
                    future.cancel()

    def _pull(self, model: StoredModel, stop: threading.Event) -> Outcome:
        if self.is_there(model):
            return Outcome.UNCHANGED
        target = self.folder / model.key
        target.parent.mkdir(parents=True, exist_ok=True)
        # The ETag in the name: what is left of another object of that key is never gone on with.
        draft = target.with_name(f".{target.name}.{model.etag.strip('"')}.part")
        for other in target.parent.glob(f".{_literal(target.name)}.*.part"):
            if other != draft:
                other.unlink(missing_ok=True)
        with ended(self.progress, model.key):
            self._fetch(model, draft, stop)
            self._verify(model, draft)
        os.utime(draft, (model.modified.timestamp(),) * 2)
        draft.replace(target)
        return Outcome.FETCHED

    def _fetch(self, model: StoredModel, draft: Path, stop: threading.Event) -> None:
        there = draft.stat().st_size if draft.exists() else 0
        if there > model.size:
            draft.unlink()
            there = 0
        room = shutil.disk_usage(draft.parent).free
        if model.size - there > room:
            raise OSError(f"{draft.parent} has no room for {model.key}: {model.size - there} bytes, {room} are free")
        self.progress.begin(model.key, "fetching", model.size)
        self.progress.advance(model.key, there)
        with draft.open("ab") as file:
            if there == model.size:
                return
            with self.bucket.open(model, start=there) as body:
                while chunk := body.read(_CHUNK):
                    if stop.is_set():
                        raise StoppedError
                    file.write(chunk)
                    self.progress.advance(model.key, len(chunk))

    def _verify(self, model: StoredModel, draft: Path) -> None:
        wanted = stored.checksum if (stored := self.bucket.model(model.key)) is not None else None
        if draft.stat().st_size != model.size:
            raise DamagedError(
                f"{model.key}: came with {draft.stat().st_size} bytes instead of {model.size}; fetch again"
            )
        if wanted is None:
            return
        self.progress.begin(model.key, "checking", model.size)
        found = checksum_of_file(draft, model.size, lambda count: self.progress.advance(model.key, count))
        # Another program may cut its parts elsewhere: then the two cannot be compared.
        if found.partition("-")[2] == wanted.partition("-")[2] and found != wanted:
            draft.unlink()
            raise DamagedError(f"{model.key}: came damaged, its checksum differs; fetch again")


def _literal(name: str) -> str:
    """Returns a name as a glob pattern that matches it alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)

"""SHA-256 of the model files in a folder that the agent sees, computed in the background.

Models are large, and the GPU comes first: one file at a time, in a thread of the lowest priority, past the page cache
that the server needs. What is known of a file holds while its size and its time of change stay; it is kept in a file,
so that the next agent on this disk need not compute it again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

import structlog

from contract.environment import Lock, ModelFile

_CHUNK: Final = 4 * 1024 * 1024
_LOWEST: Final = 19
"""Niceness."""

_DEEPEST: Final = 8
"""Folders within each other; a link may lead round in a circle."""

log = structlog.get_logger()

type _Stamp = tuple[int, int]
"""Size and time of change (ns)."""


class ModelDigests:
    """The digests of a folder's files.

    Args:
        folder: where the server's models lie, too.
        cache: the file that keeps them; None: nothing is kept.
    """

    def __init__(self, folder: Path, cache: Path | None = None) -> None:
        self._folder = folder
        self._cache = cache
        self._known: dict[str, tuple[_Stamp, str]] = _read(cache) if cache is not None else {}
        self._missing: list[Path] = []
        self._stop = threading.Event()

    @property
    def lacks(self) -> bool:
        """Whether the last `fill` lacked some."""
        return bool(self._missing)

    async def fill(self, lock: Lock) -> Lock:
        """Returns a lock with the digests that are known; `compute` then computes those that are not."""
        return await asyncio.to_thread(self._fill, lock)

    async def compute(self) -> bool:
        """Computes the digests that the last `fill` lacked; returns whether there are new ones."""
        missing, self._missing = self._missing, []
        if not missing:
            return False
        try:
            # A thread of its own: the priority is the thread's, and one of the pool would keep it.
            return await _in_thread(lambda: sum(self._hash(path) for path in missing) > 0)
        except asyncio.CancelledError:
            self._stop.set()
            raise

    def _fill(self, lock: Lock) -> Lock:
        if lock.models is None:
            return lock
        files, self._missing = self._files(), []
        return lock.model_copy(update={"models": tuple(self._filled(model, files) for model in lock.models)})

    def _filled(self, model: ModelFile, files: Mapping[str, list[PurePosixPath]]) -> ModelFile:
        name = PurePosixPath(model.name.replace("\\", "/"))
        found = [path for path in files.get(name.name, ()) if path.parts[-len(name.parts) :] == name.parts]
        if len(found) > 1:  # the same name for two kinds of model
            found = [path for path in found if model.folder in path.parts]
        if model.digest is not None or len(found) != 1:
            return model
        path = self._folder / found[0]
        stamp = _stamp(path)
        if stamp is None or model.size not in {None, stamp[0]}:
            return model
        known = self._known.get(str(found[0]))
        if known is None or known[0] != stamp:
            self._missing.append(path)
            return model
        return model.model_copy(update={"size": stamp[0], "digest": f"sha256:{known[1]}"})

    def _files(self) -> Mapping[str, list[PurePosixPath]]:
        """Returns the files below the folder, by their names."""
        files: dict[str, list[PurePosixPath]] = defaultdict(list)
        for place, folders, names in os.walk(self._folder, followlinks=True):
            deep = len(Path(place).relative_to(self._folder).parts) >= _DEEPEST
            folders[:] = [] if deep else [name for name in folders if not name.startswith(".")]
            for name in names:
                files[name].append(PurePosixPath(Path(place, name).relative_to(self._folder).as_posix()))
        return files

    def _hash(self, path: Path) -> bool:
        """Computes one digest; returns whether it did."""
        stamp = _stamp(path)
        digest = hashlib.sha256()
        try:
            with path.open("rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    if hasattr(os, "posix_fadvise"):
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    if self._stop.is_set():
                        return False
        except OSError as error:
            log.warning("a model cannot be read", file=path.name, error=str(error))
            return False
        if stamp is None or stamp != _stamp(path):
            return False  # it was written meanwhile: the next look finds it again
        self._known[path.relative_to(self._folder).as_posix()] = stamp, digest.hexdigest()
        self._keep()
        return True

    def _keep(self) -> None:
        if self._cache is None:
            return
        draft = self._cache.with_suffix(".new")
        with suppress(OSError):
            draft.write_text(json.dumps({name: [*stamp, digest] for name, (stamp, digest) in self._known.items()}))
            draft.replace(self._cache)


async def _in_thread(work: Callable[[], bool]) -> bool:
    """Returns what some work returns, done at the lowest priority."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def tell(result: bool) -> None:
        if not done.done():
            done.set_result(result)

    def run() -> None:
        with suppress(OSError, AttributeError):  # on Linux a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
        result = False
        try:
            result = work()
        finally:
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=run, name="model digests", daemon=True).start()
    return await done


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _read(cache: Path) -> dict[str, tuple[_Stamp, str]]:
    try:
        kept = json.loads(cache.read_text())
        return {name: ((int(size), int(changed)), str(digest)) for name, (size, changed, digest) in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}

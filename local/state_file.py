"""A file that says what a process keeps running: others read all of it or none, and only while the process lives."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Kept(BaseModel):
    """What such a file says at the least."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """Of the process that keeps it running."""


def lives(pid: int) -> bool:
    """Tells whether there is a process of this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def write(path: Path, state: Kept) -> None:
    """Writes the file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def read[State: Kept](path: Path, kind: type[State]) -> State | None:
    """Returns what the file says, or None when there is none that can be read."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def read_running[State: Kept](path: Path, kind: type[State]) -> State | None:
    """Returns what the file says, or None when its process is dead: one that was killed cannot clean up."""
    state = read(path, kind)
    return state if state is not None and lives(state.pid) else None


def forget(path: Path, pid: int) -> None:
    """Deletes the file, unless another process has written it since."""
    state = read(path, Kept)
    if state is not None and state.pid == pid:
        path.unlink(missing_ok=True)

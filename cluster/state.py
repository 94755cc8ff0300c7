"""The state file of a running cluster: how `status`, `load` and `down` find it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from local.folders import state_folder

FOLDER: Final = "cluster"


class ClusterState(BaseModel):
    """Where everything of a running cluster is."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """Of the process that keeps it."""
    provider: str
    api: str
    sink: str
    endpoint: str
    """Of the emulator, as this machine sees it."""
    region: str
    kubeconfig: str
    """Empty: the user's own."""
    context: str
    config: str
    """The path of config.yaml."""
    sample_image: str
    processes: dict[str, int]
    """Process ids by name, as they were when it was ready."""


def cluster_folder() -> Path:
    """Returns the folder of the cluster's files."""
    return state_folder() / FOLDER


def state_path() -> Path:
    """Returns where the state file is."""
    return cluster_folder() / "state.json"


@contextmanager
def only_one() -> Iterator[bool]:
    """Tells whether no other cluster begins, runs or ends in this state folder, and keeps others away meanwhile."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{FOLDER}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def write_state(state: ClusterState) -> None:
    """Writes the file so that a reader sees all of it or none."""
    path = state_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def read_running() -> ClusterState | None:
    """Returns the state; None when no cluster has left one whose keeper lives."""
    try:
        state = ClusterState.model_validate_json(state_path().read_bytes())
        os.kill(state.pid, 0)
    except (OSError, ValidationError):
        return None
    return state


def forget_state(pid: int) -> None:
    """Deletes the file, unless another cluster has written it since."""
    try:
        state = ClusterState.model_validate_json(state_path().read_bytes())
    except (OSError, ValidationError):
        return
    if state.pid == pid:
        state_path().unlink(missing_ok=True)

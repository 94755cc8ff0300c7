"""The state file of a running cluster: how `status`, `load` and `down` find it."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local import state_file
from local.folders import state_folder
from local.state_file import Kept

FOLDER: Final = "cluster"


class ClusterState(Kept):
    """Where everything of a running cluster is."""

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


def read_running() -> ClusterState | None:
    """Returns the state; None when no cluster has left one whose keeper lives."""
    return state_file.read_running(state_path(), ClusterState)

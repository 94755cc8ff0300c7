"""The state file of a running stack: how clients and tests find it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from local import state_file
from local.folders import state_folder
from local.harness.replicas import Phase
from local.state_file import Kept

FILE_NAME: Final = "up.json"


class Process(BaseModel):
    """One process of a running stack."""

    model_config = ConfigDict(frozen=True)

    pid: int
    url: str


class ReplicaEntry(BaseModel):
    """One agent beside its runtime."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Of the runtime's process; the agent's is `NAME-agent`."""
    phase: Phase
    since: float
    """Unix time of the last change of phase."""
    runtime_url: str
    agent_url: str
    """Of /healthz, /readyz and /metrics."""
    runtime_pid: int | None
    """None: there is no such process (yet, or just now)."""
    agent_pid: int | None


class Replicas(BaseModel):
    """The replicas of one runtime."""

    model_config = ConfigDict(frozen=True)

    wanted: int
    autoscaled: bool
    min_replica_count: int
    max_replica_count: int
    """As config.yaml says, but no more than this machine is to run."""
    pairs: list[ReplicaEntry]
    """All that are there, those that are starting or draining as well."""


class State(Kept):
    """Where everything of a running stack is; the file is written anew, at once, whenever anything of it changes."""

    api: str
    sink: str
    localstack: str
    region: str
    task_topic_arn: str
    callback_topic_arn: str
    output_bucket: str
    queues: dict[str, str]
    """URL by runtime."""
    processes: dict[str, Process]
    """By name; a restart changes the ids."""
    replicas: dict[str, Replicas] = Field(default_factory=dict)
    """By runtime."""


def default_path() -> Path:
    """Returns where `up` writes its state if it is not told otherwise, and where clients look for it."""
    return state_folder() / FILE_NAME


def path_beside(port: int) -> Path:
    """Returns where a stack whose API listens on this port writes its state: not over that of one that runs."""
    usual = default_path()
    other = read_running(usual)
    # One with the same port has ended, since the port can be had: its process id is another process's by now.
    if other is None or other.api.endswith(f":{port}"):
        return usual
    return usual.with_name(f"up-{port}.json")


class StateError(Exception):
    """A state file that cannot be written; one line that names it, and the way out."""


def check_writable(path: Path) -> None:
    """Tries to write beside a state file, before anything is started.

    Raises:
        StateError: it cannot be.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise StateError(f"--state {path}: cannot be written ({error.strerror}): name another file") from error


def read_state(path: Path) -> State | None:
    """Returns the state, or None when no stack has left one that can be read."""
    return state_file.read(path, State)


def read_running(path: Path) -> State | None:
    """Returns the state, or None when no stack has left one that still runs."""
    return state_file.read_running(path, State)

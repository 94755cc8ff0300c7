"""The state file of a running stack: how clients and tests find it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from local.folders import state_folder
from local.harness.replicas import Phase

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


class State(BaseModel):
    """Where everything of a running stack is; the file is written anew, at once, whenever anything of it changes."""

    model_config = ConfigDict(frozen=True)

    pid: int
    """Of the harness."""
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
    replicas: dict[str, Replicas] = {}
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


def write_state(path: Path, state: State) -> None:
    """Writes the file so that a reader sees all of it or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(state.model_dump_json(indent=2) + "\n", encoding="utf-8")
    draft.replace(path)


def read_state(path: Path) -> State | None:
    """Returns the state, or None when no stack has left one that can be read."""
    try:
        return State.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def read_running(path: Path) -> State | None:
    """Returns the state, or None when no stack has left one that still runs: one that was killed cannot clean up."""
    state = read_state(path)
    if state is None:
        return None
    try:
        os.kill(state.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it is another user's
    return state


def forget_state(path: Path, pid: int) -> None:
    """Deletes the file, unless another harness has written it since."""
    state = read_state(path)
    if state is not None and state.pid == pid:
        path.unlink(missing_ok=True)

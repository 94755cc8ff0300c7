"""The stack in Docker Compose that the tests of this folder share: built, started as the README says, taken down."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = "darkroom-test"


def _docker_missing() -> str | None:
    if shutil.which("docker") is None:
        return "there is no docker command"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return f"`{' '.join(command)}` fails: is the Docker engine running, with its Compose plugin?"
    return None


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Compose:
    """The stack under a project name and ports of its own, so that it never touches a stack that the user runs."""

    def __init__(self) -> None:
        self.ports = {name: _free_port() for name in ("API_PORT", "SINK_PORT", "LOCALSTACK_PORT")}
        self.environment: dict[str, str] = dict(os.environ) | {name: str(port) for name, port in self.ports.items()}
        self.environment |= {"LATENCY": "0", "COMPOSE_PROJECT_NAME": PROJECT}

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        """Runs `docker compose …`, with these variables too, and returns what it printed; shows all when it fails."""
        done = subprocess.run(
            ["docker", "compose", "--ansi", "never", *arguments],
            cwd=ROOT,
            env=self.environment | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"docker compose {' '.join(arguments)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done.stdout


@pytest.fixture(scope="session")
def unstarted() -> Compose:
    """Compose itself, with nothing built or started."""
    reason = _docker_missing()
    if reason:
        pytest.skip(f"no Docker here: {reason}")
    return Compose()


@pytest.fixture(scope="session")
def compose(unstarted: Compose) -> Iterator[Compose]:
    """The stack, started."""
    stack = unstarted
    began = time.monotonic()
    stack.run("build")
    print(f"\nbuild: {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    try:
        stack.run("up", "--wait", "--wait-timeout", "120")
        print(f"up --wait: {time.monotonic() - began:.1f} s")
        yield stack
    finally:
        if os.environ.get("DARKROOM_KEEP_LOGS"):
            Path(os.environ["DARKROOM_KEEP_LOGS"]).write_text(stack.run("logs", "--no-color"))
        stack.run("--profile", "*", "down", "--volumes", "--timeout", "10")

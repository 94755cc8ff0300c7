"""The stack in Docker Compose: built, started as the README says, used with the reference's requests, taken down."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from contract.config import load_config
from tests.journeys.journeys import JOURNEYS
from tests.journeys.target import Inbox, Target

ROOT = Path(__file__).parents[2]
PROJECT = "darkroom-test"

pytestmark = [pytest.mark.compose, pytest.mark.timeout(900)]


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
        self.environment = os.environ | {name: str(port) for name, port in self.ports.items()}
        self.environment |= {"LATENCY": "0", "COMPOSE_PROJECT_NAME": PROJECT}

    def run(self, *arguments: str, timeout: float = 600) -> str:
        """Runs `docker compose …` and returns what it printed; shows all of it when it fails."""
        done = subprocess.run(
            ["docker", "compose", "--ansi", "never", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"docker compose {' '.join(arguments)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done.stdout


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    reason = _docker_missing()
    if reason:
        pytest.skip(f"no Docker here: {reason}")
    stack = Compose()
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
        stack.run("down", "--volumes", "--timeout", "10")


@pytest.fixture(scope="session")
def target(compose: Compose) -> Target:
    return Target(
        api=f"http://127.0.0.1:{compose.ports['API_PORT']}",
        aws=f"http://127.0.0.1:{compose.ports['LOCALSTACK_PORT']}",
        sample_image="http://sink:8001/samples/cat.png",
        config=load_config(ROOT / "config.yaml"),
    )


@pytest.fixture(scope="session")
def inbox(target: Target) -> Iterator[Inbox]:
    with Inbox.open(target) as opened:
        yield opened


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS.keys())
def test_the_reference_requests_go_all_the_way(
    journey: Callable[[Target, Inbox], None], target: Target, inbox: Inbox
) -> None:
    journey(target, inbox)


def test_every_container_is_hardened(compose: Compose) -> None:
    names = compose.run("ps", "--all", "--format", "{{.Name}}").split()
    assert len(names) >= 10
    for name in names:
        (state,) = json.loads(subprocess.run(["docker", "inspect", name], capture_output=True, check=True).stdout)
        user = state["Config"]["User"]
        assert user.split(":")[0] not in {"", "0", "root"}, f"{name} runs as root"
        assert "ALL" in state["HostConfig"]["CapDrop"], name
        assert state["HostConfig"]["ReadonlyRootfs"], f"{name} has a writable root file system"
        for bindings in (state["HostConfig"]["PortBindings"] or {}).values():
            assert all(binding["HostIp"] == "127.0.0.1" for binding in bindings), name


@pytest.mark.parametrize("image", ["api", "agent", "fake-runtime", "local"])
def test_images_hold_no_build_tools_and_no_secret(image: str, compose: Compose) -> None:
    probe = "import shutil, sys; print([n for n in ('gcc', 'cc', 'make', 'git', 'uv') if shutil.which(n)])"
    found = subprocess.run(
        ["docker", "run", "--rm", "--network=none", "--entrypoint", "python", f"darkroom/{image}", "-c", probe],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"
    history = subprocess.run(
        ["docker", "history", "--no-trunc", f"darkroom/{image}"], capture_output=True, text=True, check=True
    )
    assert "SECRET" not in history.stdout.upper()

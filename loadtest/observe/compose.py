"""Replicas and GPUs of a stack in Docker Compose, by the Docker CLI."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gevent.pool import Pool

from loadtest.observe.metrics import busy_seconds
from loadtest.observe.source import SourceError
from loadtest.samples import Replicas

_TIMEOUT: Final = 10.0
"""Seconds."""
_METRICS: Final = (
    "import socket as s; c = s.create_connection(('127.0.0.1', 8080), 2); "
    "c.sendall(b'GET /metrics HTTP/1.0\\r\\n\\r\\n'); print(c.makefile().read())"
)
"""Run inside an agent's container, whose port is published nowhere; a probe of `compose.yaml` asks in the same way."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The container of an agent that runs."""

    runtime: str
    name: str
    ready: bool


class ComposeReplicas:
    """Asks which agents run, which takes a while: every two seconds."""

    name = "replicas"
    every = 2.0

    def __init__(self, folder: Path, runtimes: Sequence[str]) -> None:
        self._folder = folder
        self._runtimes = runtimes
        self.agents: list[Agent] = []
        """As they were last seen."""

    def look(self) -> dict[str, Any]:
        """Returns replicas by state."""
        said = _docker("compose", "ps", "--all", "--format", "json", folder=self._folder)
        self.agents = agents_in(said.splitlines(), self._runtimes)
        return {"replicas": replicas_in(self.agents)}


class ComposeGpus:
    """Asks each agent how long its GPU has worked, by a process in its container: every three seconds."""

    name = "gpus"
    every = 3.0

    def __init__(self, replicas: ComposeReplicas) -> None:
        self._replicas = replicas
        self._pool = Pool(4)

    def look(self) -> dict[str, Any]:
        """Returns busy seconds by replica."""
        agents = [agent for agent in self._replicas.agents if agent.ready]
        found = self._pool.map(self._ask, agents)
        return {
            "busy": {
                f"{agent.runtime}/{agent.name}": seconds
                for agent, seconds in zip(agents, found, strict=True)
                if seconds is not None
            }
        }

    @staticmethod
    def _ask(agent: Agent) -> float | None:
        try:
            return busy_seconds(_docker("exec", agent.name, "python", "-ISc", _METRICS))
        except SourceError:
            return None  # it may just have gone


def _docker(*words: str, folder: Path | None = None) -> str:
    """Returns what a Docker command says.

    Raises:
        SourceError: it failed.
    """
    try:
        done = subprocess.run(
            ["docker", *words], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=True
        )
    except FileNotFoundError as error:
        raise SourceError("docker is not on the PATH") from error
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", "") or str(error)).strip()
        raise SourceError(f"docker {words[0]}: {said[:200]}") from error
    return done.stdout


def agents_in(lines: Iterable[str], runtimes: Sequence[str]) -> list[Agent]:
    """Returns the agents that run, from the containers of a stack: one JSON object in each line.

    An agent's service is named after its runtime, with `-agent` somewhere in it (`compose.yaml`).
    """
    found = []
    for line in lines:
        try:
            container = json.loads(line)
            service, state, health = container["Service"], container["State"], container.get("Health", "")
        except (ValueError, KeyError, TypeError):
            continue
        # One runtime's name may begin with another's.
        named = [name for name in runtimes if service.startswith(f"{name}-") and "agent" in service[len(name) :]]
        runtime = max(named, key=len, default=None)
        if runtime is not None and state == "running":
            found.append(Agent(runtime, container.get("Name", ""), ready=health in {"healthy", ""}))
    return found


def replicas_in(agents: Iterable[Agent]) -> dict[str, Replicas]:
    """Returns each runtime's replicas by state."""
    states: dict[str, list[bool]] = {}
    for agent in agents:
        states.setdefault(agent.runtime, []).append(agent.ready)
    return {
        runtime: Replicas(ready=ready.count(True), starting=ready.count(False)) for runtime, ready in states.items()
    }

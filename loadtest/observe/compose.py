"""Replicas of a stack in Docker Compose, from `docker compose ps`; its GPUs cannot be asked from outside."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from loadtest.observe.source import SourceError
from loadtest.samples import Replicas

_TIMEOUT = 10.0


class ComposeReplicas:
    """Asks the Docker CLI, which takes a while: every two seconds."""

    name = "replicas"
    every = 2.0

    def __init__(self, folder: Path, runtimes: Sequence[str]) -> None:
        self._folder = folder
        self._runtimes = runtimes

    def look(self) -> dict[str, Any]:
        """Returns replicas by state."""
        command = ["docker", "compose", "ps", "--all", "--format", "json"]
        try:
            done = subprocess.run(
                command, cwd=self._folder, capture_output=True, text=True, timeout=_TIMEOUT, check=True
            )
        except FileNotFoundError as error:
            raise SourceError("docker is not on the PATH") from error
        except subprocess.SubprocessError as error:
            words = (getattr(error, "stderr", "") or str(error)).strip()
            raise SourceError(f"docker compose ps: {words[:200]}") from error
        return {"replicas": replicas_in(done.stdout.splitlines(), self._runtimes)}


def replicas_in(lines: Iterable[str], runtimes: Sequence[str]) -> dict[str, Replicas]:
    """Returns each runtime's replicas: the agents' containers, one JSON object in each line.

    An agent's service is named after its runtime, with `-agent` somewhere in it (`compose.yaml`).
    """
    states: dict[str, list[str]] = {}
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
            states.setdefault(runtime, []).append("ready" if health in {"healthy", ""} else "starting")
    return {
        runtime: Replicas(ready=found.count("ready"), starting=found.count("starting"))
        for runtime, found in states.items()
    }

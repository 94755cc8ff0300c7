"""Replicas and GPUs of a stack of plain processes, from the state file of `nox -s up`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gevent.pool import Pool

from loadtest.observe.metrics import fetch_busy_seconds
from loadtest.observe.source import SourceError
from loadtest.samples import Replicas


class LocalReplicas:
    """Reads the state file, and asks each runtime (or else its agent) for its busy seconds."""

    name = "replicas"
    every = 1.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = Pool(16)

    def look(self) -> dict[str, Any]:
        """Returns replicas by state, and busy seconds by replica."""
        try:
            state = json.loads(self._path.read_text(encoding="utf-8"))
            replicas = {runtime: counted(item) for runtime, item in state["replicas"].items()}
            there = [
                (f"{runtime}/{pair['name']}", (pair["runtime_url"], pair["agent_url"]))
                for runtime, item in state["replicas"].items()
                for pair in item["pairs"]
                if pair["phase"] in {"ready", "draining"}
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{self._path}: {error!r}") from error
        found = self._pool.map(lambda item: fetch_busy_seconds(item[1]), there)
        busy = {name: seconds for (name, _), seconds in zip(there, found, strict=True) if seconds is not None}
        return {"replicas": replicas, "busy": busy}


def counted(item: dict[str, Any]) -> Replicas:
    """Returns one runtime's replicas by state, as `local/harness/state.py` describes them.

    Raises:
        KeyError, TypeError: it is no such entry.
    """
    phases = [pair["phase"] for pair in item["pairs"]]
    ready, draining = phases.count("ready"), phases.count("draining")
    return Replicas(ready=ready, starting=len(phases) - ready - draining, draining=draining, wanted=item["wanted"])

"""A cluster that runs, as the tests see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cloud.helm import CHART, helm_binary
from cluster.builds import build_key, cache_folder
from cluster.state import ClusterState, read_running
from loadtest.targets.local import free_base

ROOT = Path(__file__).parents[2]
NODES = 6
SECONDS_PER_TASK = 4
CONFIG = """
stackName: darkroom
modelsRuntime:
- {name: sdruntime, namespace: images, type: sdwebui, modelFilename: v1-5-pruned-emaonly.safetensors}
- {name: comfyruntime, namespace: images, type: comfyui}
"""


class Running:
    """A cluster that runs."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self._kubectl = [
            *(str(cache_folder() / build_key() / "cluster"), "kubectl"),
            *("--kubeconfig", state.kubeconfig, "--context", state.context),
        ]

    def kubectl(self, *arguments: str, text: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs kubectl as the cluster's administrator."""
        done = subprocess.run(
            [*self._kubectl, *arguments], input=text, capture_output=True, text=True, timeout=120, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments[:4])}: {done.stderr}")
        return done

    def get(self, *arguments: str) -> Any:
        """Returns what `kubectl get` finds."""
        return json.loads(self.kubectl("get", *arguments, "--output=json").stdout)

    def replicas(self, runtime: str = "sdruntime", namespace: str = "images") -> int:
        """Returns how many replicas the runtime's Deployment is to have."""
        found: int = self.get("deployment", runtime, f"--namespace={namespace}")["spec"]["replicas"]
        return found

    def pods(self, namespace: str = "images") -> list[Any]:
        """Returns the runtime's pods that are not draining."""
        found = self.get("pods", f"--namespace={namespace}", "--selector=app.kubernetes.io/component=runtime")["items"]
        return [item for item in found if "deletionTimestamp" not in item["metadata"]]

    def upgrade(self, *settings: str, release: str = "sdruntime", namespace: str = "images") -> None:
        """Upgrades a release by Helm, its other values kept."""
        command = [str(helm_binary()), "upgrade", release, str(CHART), f"--namespace={namespace}", "--reuse-values"]
        command += [word for setting in settings for word in ("--set", setting)]
        done = subprocess.run(
            [*command, "--kube-context", self.state.context],
            env={**os.environ, "KUBECONFIG": self.state.kubeconfig},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def submit(self, name: str, count: int = 1, runtime: str = "sdruntime") -> list[str]:
        """Sends tasks; returns their ids."""
        ids = [f"{name}-{number}" for number in range(count)]
        with httpx.Client(base_url=self.state.api, trust_env=False, timeout=30) as http:
            for task in ids:
                metadata = {"id": task, "runtime": runtime, "tasktype": "text-to-image", "prefix": "out", "context": ""}
                content = {"prompt": "a dog", "steps": 4, "width": 64, "height": 64}
                http.post("/v1alpha2", json={"task": {"metadata": metadata, "content": content}}).raise_for_status()
        return ids

    def ended(self, ids: list[str]) -> dict[str, Any]:
        """Returns the callbacks of these tasks, by id; each has at most one."""
        found = {}
        with httpx.Client(base_url=self.state.sink, trust_env=False, timeout=30) as http:
            for task in ids:
                callbacks = http.get("/callbacks", params={"id": task}).json()
                assert len({json.dumps(each, sort_keys=True) for each in callbacks}) <= 1, (task, callbacks)
                if callbacks:
                    found[task] = callbacks[0]
        return found

    def attempts(self, task: str) -> int:
        """Returns how often an agent began with a task."""
        answer = httpx.get(f"{self.state.api}/v1/tasks/{task}", trust_env=False, timeout=30).json()
        return int(answer.get("attempts") or 0)


@contextmanager
def started(folder: Path, config: str, *, nodes: int, seconds_per_task: float) -> Iterator[ClusterState]:
    """Keeps a cluster with a release for each runtime of a config; its lines go into `up.log` of the folder."""
    path, log = folder / "config.yaml", folder / "up.log"
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "cluster", "up", "--config", str(path), "--port-base", str(free_base(20))]
    command += ["--nodes", str(nodes), "--seconds-per-task", str(seconds_per_task)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "200"}
        )
    try:
        until(f"the cluster, see {log}", lambda: process.poll() is not None or read_running(), 600)
        state = read_running()
        assert state is not None, log.read_text(encoding="utf-8")[-3000:]
        yield state
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def until(what: str, holds: Callable[[], Any], within: float) -> Any:
    """Waits for something; returns it."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.5)
    raise AssertionError(f"not within {within:g} s: {what}")

"""One cluster of processes for all tests here: `uvx nox -s cluster-test`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from cluster.state import read_running
from loadtest.targets.local import free_base
from tests.cluster.running import CONFIG, NODES, ROOT, SECONDS_PER_TASK, Running, until


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cluster with KEDA, the emulator, and a release for each of two runtimes.

    With CLUSTER_TEST=running, that which runs already: it must have been started with `tests/cluster/running.py`'s
    config, nodes and seconds.
    """
    if (running := read_running()) and os.environ.get("CLUSTER_TEST") == "running":
        yield Running(running)
        return
    assert running is None, "a cluster runs already: end it by `uvx nox -s cluster -- down`"
    folder = tmp_path_factory.mktemp("cluster")
    config, log = folder / "config.yaml", folder / "up.log"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "cluster", "up", "--config", str(config), "--port-base", str(free_base(20))]
    command += ["--nodes", str(NODES), "--seconds-per-task", str(SECONDS_PER_TASK)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "200"}
        )
    try:
        until(f"the cluster, see {log}", lambda: process.poll() is not None or read_running(), 600)
        state = read_running()
        assert state is not None, log.read_text()[-3000:]
        yield Running(state)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)

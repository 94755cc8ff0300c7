"""One cluster of processes for all tests here: `uvx nox -s cluster-test`."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from cluster.state import read_running
from tests.cluster.running import CONFIG, NODES, SECONDS_PER_TASK, Running, started


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
    with started(folder, CONFIG, nodes=NODES, seconds_per_task=SECONDS_PER_TASK) as state:
        yield Running(state)

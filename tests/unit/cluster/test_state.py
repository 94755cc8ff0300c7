"""One cluster at a time in a state folder, from its first moment to its last."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from cluster import run
from cluster.options import ClusterOptions, Provider
from cluster.state import cluster_folder, only_one


async def test_a_second_cluster_leaves_the_files_of_one_that_begins_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path))
    config = tmp_path / "config.yaml"
    config.write_text("modelsRuntime: [{name: sdruntime, type: sdwebui, dynamicModel: true}]")
    mine = cluster_folder() / "pki" / "ca.crt"
    mine.parent.mkdir(parents=True)
    mine.touch()
    said = io.StringIO()
    with only_one() as alone:
        assert alone
        options = ClusterOptions(config, Provider.PROCESSES)
        assert await run.up(options, Console(file=said, width=200)) == run.USAGE
    assert mine.exists()
    assert said.getvalue().startswith("a cluster begins or ends here just now")
    with only_one() as alone:
        assert alone

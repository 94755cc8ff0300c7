"""Fixtures that the tests of the cloud share: assemblies that are synthesized once per run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.synthesis import ROOT, Synthesis, synthesize


@pytest.fixture(scope="session")
def assemblies(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of this run's assemblies, the same for every worker of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "assemblies"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def default(assemblies: Path) -> Synthesis:
    """The assembly of the repository's own config.yaml."""
    return synthesize(ROOT / "config.yaml", assemblies)

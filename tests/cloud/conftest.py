"""Fixtures that the tests of the cloud share: assemblies that are synthesized once per run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cloud.synthesis import DEFAULT, Synthesis, synthesize


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives time to whichever test comes first: it makes the assemblies for all, and a busy machine takes minutes."""
    for item in items:
        if "assemblies" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def assemblies(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Synthesis]:
    """The assemblies by the name of their config, the same for every worker of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder: Path = (base if worker_id == "master" else base.parent) / "assemblies"
    folder.mkdir(exist_ok=True)
    return synthesize(folder)


@pytest.fixture(scope="session")
def default(assemblies: dict[str, Synthesis]) -> Synthesis:
    """The assembly of the repository's own config.yaml."""
    return assemblies[DEFAULT]


@pytest.fixture(scope="session")
def everything(assemblies: dict[str, Synthesis]) -> Synthesis:
    """The assembly of the example that uses every setting."""
    return assemblies["all-settings"]


@pytest.fixture(scope="session")
def china(assemblies: dict[str, Synthesis]) -> Synthesis:
    """The assembly of the example for a region in China."""
    return assemblies["china"]

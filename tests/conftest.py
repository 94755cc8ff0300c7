"""Fixtures that every test may use: a LocalStack, and deployments on it that no other test sees."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from local.emulators.environment import ensure_environment
from local.emulators.kinds import chosen
from local.emulators.process import Emulator
from local.folders import state_folder
from tests.support.deployment import Deployment, deploy
from tests.support.longest_first import place_of


def pytest_configure(config: pytest.Config) -> None:
    """Gives Hypothesis' examples time: a machine that is busy for a fifth of a second is no fault of what is tested."""
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    # pytest-xdist hands out files with many tests first; the longest, which have few, would come last.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Lets a process of pytest-xdist see the longest files first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.nodeid))


@pytest.fixture(scope="session")
def localstack_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The emulator of this test session, LocalStack or what `EMULATOR` names; with pytest-xdist each worker has one."""
    kind = chosen(os.environ)
    python = ensure_environment(state_folder(), say=print, kind=kind)
    process = Emulator(python=python, folder=tmp_path_factory.mktemp(kind.name), kind=kind)
    try:
        process.start()
        yield process.wait_until_ready()
    finally:
        process.stop()


@pytest.fixture(scope="session")
def localstack(localstack_process: Emulator) -> str:
    """The URL of this session's LocalStack; use `deployment` unless a test needs nothing provisioned."""
    return localstack_process.endpoint


@pytest.fixture
def deployment(localstack: str) -> Deployment:
    """A provisioned stack of this test's own, with the runtimes sdruntime, dynamicruntime and comfyruntime."""
    return deploy(localstack)


@pytest.fixture(scope="module")
def module_deployment(localstack: str) -> Deployment:
    """A provisioned stack that the tests of one module share."""
    return deploy(localstack)

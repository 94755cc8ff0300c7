"""Stacks of real processes for the tests of this folder, and their logs when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.support.deployment import deploy
from tests.support.proxy import FaultProxy
from tests.support.stack import SPARES, Stack
from tests.support.web import web_server


@pytest.fixture(scope="module")
def stack(localstack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API, and many like runtimes for which each test starts its own pods."""
    with Stack(deploy(localstack, config=SPARES), tmp_path_factory.mktemp("stack")) as made:
        made.start_api()
        yield made
        assert made.traces() == {}


@pytest.fixture
def runtime(stack: Stack) -> str:
    """The name of a runtime that no other test uses."""
    return stack.spare_runtime()


@pytest.fixture(scope="module")
def aws(localstack: str) -> Iterator[FaultProxy]:
    """LocalStack behind a proxy that makes it fail as ordered; pods use it with `AWS_ENDPOINT_URL=aws.url`."""
    with FaultProxy(localstack) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """The address of a web server with good and bad pictures."""
    with web_server() as server:
        yield server.url


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of each process's log to the report of a failed test."""
    report = yield
    if report.failed:
        stacks = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Stack)]
        for process in (process for made in stacks for process in made.processes):
            report.sections.append((f"log of {process.name}", process.tail()))
    return report

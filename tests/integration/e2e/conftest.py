"""Stacks of real processes for the tests of this folder, tests that wait together, and logs when a test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import pytest

from contract.task import RuntimeType
from tests.support.deployment import deploy
from tests.support.proxy import FaultProxy
from tests.support.stack import SPARES, Stack
from tests.support.web import web_server

AT_ONCE: Final = 8
"""Tests that run at the same time; more would let the processes wait for each other on a small machine."""
LONGEST: Final = 110.0
"""Seconds until a test that waits together with others is given up."""


@pytest.fixture(scope="module")
def stack(localstack: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An API, and many like runtimes for which each test starts its own pods."""
    with Stack(deploy(localstack, config=SPARES), tmp_path_factory.mktemp("stack")) as made:
        made.start_api()
        yield made
        assert made.traces() == {}


@pytest.fixture
def runtime(stack: Stack, request: pytest.FixtureRequest) -> str:
    """The name of a runtime that no other test uses."""
    return stack.spare_runtime(request.node.nodeid)


@pytest.fixture
def comfy_runtime(stack: Stack, request: pytest.FixtureRequest) -> str:
    """The name of a ComfyUI runtime that no other test uses."""
    return stack.spare_runtime(request.node.nodeid, RuntimeType.COMFYUI)


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


@pytest.fixture(scope="module")
def together(request: pytest.FixtureRequest, stack: Stack) -> Iterator[dict[str, Future[None]]]:
    """Runs all tests of a module that ask for this fixture at the same time, each in a thread.

    They mostly wait: for visibility timeouts, growing delays, outages. Each is still reported by itself. They may use
    fixtures of the module and of the session, `runtime`, `comfy_runtime`, and parameters.
    """

    def argument(item: pytest.Function, name: str) -> Any:
        if name == "runtime":
            return stack.spare_runtime(item.nodeid)
        if name == "comfy_runtime":
            return stack.spare_runtime(item.nodeid, RuntimeType.COMFYUI)
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return parameters[name] if name in parameters else request.getfixturevalue(name)

    items = [
        item
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path and "together" in item.fixturenames
    ]
    calls = {item.nodeid: {name: argument(item, name) for name in item._fixtureinfo.argnames} for item in items}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {item.nodeid: pool.submit(item.obj, **calls[item.nodeid]) for item in items}


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Waits for a test that runs `together` with others, instead of running it."""
    futures: Any = pyfuncitem.funcargs.get("together")
    if futures is None:
        return None
    futures[pyfuncitem.nodeid].result(LONGEST)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the report of a failed test the end of the logs of the processes that it has started."""
    report = yield
    if report.failed:
        stacks = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Stack)]
        for process in (process for made in stacks for process in made.processes_of(item.nodeid)):
            report.sections.append((f"log of {process.name}", process.tail()))
    return report

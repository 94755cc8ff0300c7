"""The smoke test runs against the local stack, too: on LocalStack, and without a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud.aws import ToolError
from cloud.smoke.api import Api
from tests.cloud.tools.conftest import Run
from tests.support.deployment import Deployment
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def stack(module_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(module_deployment, tmp_path_factory.mktemp("stack")) as made:
        made.start_pod("comfyruntime", ready=False)
        made.start_api()
        yield made
        assert made.traces() == {}


def test_the_smoke_test_passes_on_the_local_stack(run: Run, stack: Stack, tmp_path: Path) -> None:
    result = run(
        *("smoke", "--url", stack.api, "--runtime-type", "comfyui", "--output", str(tmp_path), "--timeout", "60")
    )
    assert result.exit_code == 0, result.output
    assert "the smoke test passed: 1 requests" in result.output
    assert len(list(tmp_path.iterdir())) == 1


def test_where_no_api_answers_the_way_out_is_named() -> None:
    with Api("http://127.0.0.1:9", patience=0) as api, pytest.raises(ToolError, match="nox -s status"):
        api.runtimes()

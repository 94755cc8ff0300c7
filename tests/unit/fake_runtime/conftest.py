"""Fixtures of the fake runtime's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.fake_runtime.support import Server, serving


@pytest.fixture
async def webui() -> AsyncIterator[Server]:
    async with serving(type="sdwebui") as server:
        yield server


@pytest.fixture
async def comfyui(tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(tmp_path, type="comfyui") as server:
        yield server

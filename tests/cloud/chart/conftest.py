"""Fixtures that the tests of the chart share: two releases of it."""

from __future__ import annotations

import pytest

from tests.cloud.chart.releases import COMPLETE, Release, released


@pytest.fixture(scope="session")
def usual() -> Release:
    """A release with nothing of its own."""
    return released(modelFilename="v1-5-pruned-emaonly.safetensors")


@pytest.fixture(scope="session")
def complete() -> Release:
    """A release with all that is optional."""
    return released(COMPLETE, dynamicModel=True, placed={"otlp_endpoint": "http://collector.observability:4318"})

"""Probes and metrics."""

from __future__ import annotations

from typing import Any

from api import schemas
from api.openapi.build import Build, text


def paths(build: Build) -> dict[str, Any]:
    """Returns the operations of each path."""
    return {
        "/healthz": {
            "get": build.operation(
                "healthz",
                "Is the process alive?",
                {200: build.json("Yes.", schemas.Health)},
                tag="operations",
                guarded=False,
            )
        },
        "/readyz": {
            "get": build.operation(
                "readyz",
                "Can it do its work?",
                {200: build.json("Yes.", schemas.Ready)},
                503,
                tag="operations",
                guarded=False,
            )
        },
        "/metrics": {
            "get": build.operation(
                "metrics",
                "Prometheus metrics",
                {200: text("Prometheus' text format.", "text/plain")},
                tag="operations",
                guarded=False,
            )
        },
    }
